import numpy as np
import pytest
import torch
from drawn import RATE, always
from hypothesis import given, settings
from hypothesis import strategies as st

from mvssl.frontends import LogMel
from mvssl.seeding import hash_keys
from mvssl.views import Crops, PitchShift, Speed, TimeStretch, ViewChain

SEMITONES = torch.tensor([-7.0, -5.5, -3.2, -1.0, -0.3, 0.4, 1.7, 3.0, 5.1, 7.0])
RATES = torch.tensor([0.8, 0.87, 0.94, 1.03, 1.12, 1.2, 1.25])
KINDS = [PitchShift, Speed, TimeStretch]
each_kind = pytest.mark.parametrize("kind", KINDS)


def applied(transform, x, values):
    """Transforms each row by a parameter of its own."""
    (name,) = transform.ranges
    return transform(x, params={name: values, "applied": torch.ones(len(x), dtype=torch.bool)})


def sine(hertz, seconds=3.0, rate=RATE):
    return torch.sin(2 * torch.pi * hertz * torch.arange(int(seconds * rate)).double() / rate).float()


def peaks(y, rate=RATE):
    """Frequency of the highest peak of each row, by a parabola through a zero-padded spectrum in dB."""
    window = torch.hann_window(y.shape[1], dtype=torch.float64)
    spectrum = torch.fft.rfft(y.double() * window, 2**20).abs()
    peak = spectrum.argmax(1)
    low, middle, high = (spectrum[torch.arange(len(y)), peak + step].log() for step in (-1, 0, 1))
    return (peak + (low - high) / (low - 2 * middle + high) / 2) * rate / 2**20


def cents(found, wanted):
    return 1200 * (found / wanted).log2()


def decibels(y, x):
    return 20 * (y.std(1) / x.std(1)).log10()


def beats(period, sound, seconds=6.0):
    """A track of equal sounds at a period in seconds."""
    y = torch.zeros(int(seconds * RATE) + len(sound))
    for beat in range(int(seconds / period)):
        y[round(beat * period * RATE) :][: len(sound)] += sound
    return y[: int(seconds * RATE)]


def beat_period(y):
    """By the autocorrelation of the envelope, over as many periods as fit, in seconds."""
    envelope = torch.nn.functional.avg_pool1d(y.square()[None], 160, 16)[0]
    spectrum = torch.fft.rfft(envelope.double() - envelope.mean(), 2 * len(envelope))
    correlation = torch.fft.irfft(spectrum.abs().square())[: len(envelope)]
    period = 300 + int(correlation[300:700].argmax())  # 0.3 to 0.7 s
    for times in range(2, len(envelope) // 2 // period):  # a multiple says it the more exactly
        around = round(times * period)
        reach = max(10, around // 40)
        period = (around - reach + int(correlation[around - reach : around + reach].argmax())) / times
    return period / 1000


CLICK = torch.hann_window(32)
DRUM = torch.randn(2_400, generator=torch.Generator().manual_seed(0)) * torch.exp(-torch.arange(2_400) / 400)
each_sound = pytest.mark.parametrize("sound", [CLICK, DRUM], ids=["click", "drum"])


def piece(factor, seed):
    """Chords of three tones with eight harmonics, whose frequencies are multiplied by a factor."""
    rng = np.random.default_rng(seed)
    time = np.arange(3 * RATE) / RATE
    y = np.zeros(3 * RATE)
    for onset in np.arange(0, 3, 0.5).repeat(3):
        hertz, since = 110 * 2 ** (rng.integers(0, 30) / 12), time - onset
        envelope = np.where(since > 0, np.minimum(since / 0.01, 1) * np.exp(-2 * since), 0)
        for harmonic in range(1, 9):
            level, phase = rng.uniform(0.3, 1) / harmonic, rng.uniform(0, 6.28)
            if hertz * harmonic * 1.5 < 7_000:
                y += level * envelope * np.sin(2 * np.pi * hertz * harmonic * factor * since + phase)
    return torch.from_numpy(0.1 * y).float()


# What they do


@pytest.mark.parametrize("hertz", [110.0, 220.0, 440.0, 1_000.0, 3_000.0])
def test_pitch_shift_moves_a_tone_by_what_it_says(hertz):
    tone = sine(hertz).expand(len(SEMITONES), -1)
    y = applied(PitchShift(), tone, SEMITONES)
    assert y.shape == tone.shape
    assert cents(peaks(y), hertz * 2 ** (SEMITONES / 12)).abs().max() < 5
    assert decibels(y, tone).abs().max() < 0.1
    # What is not within 30 Hz of the tone, where the window of the spectrum ends, are the seams.
    power = torch.fft.rfft(y.double() * torch.hann_window(y.shape[1])).abs().square()
    away = (torch.arange(power.shape[1]) / 3 - hertz * 2 ** (SEMITONES[:, None] / 12)).abs() > 30
    assert 10 * ((power * away).sum(1) / power.sum(1)).log10().max() < -35


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
def test_pitch_shift_at_other_sample_rates(rate):
    transform = PitchShift()
    transform.bind(LogMel(rate, f_max=rate / 2))
    y = applied(transform, sine(440.0, rate=rate).expand(len(SEMITONES), -1), SEMITONES)
    assert cents(peaks(y, rate), 440 * 2 ** (SEMITONES / 12)).abs().max() < 5


@each_sound
def test_pitch_shift_keeps_the_tempo(sound):
    track = beats(0.45, sound).expand(len(SEMITONES), -1)
    for y in applied(PitchShift(), track, SEMITONES):
        assert beat_period(y) == pytest.approx(0.45, rel=0.01)


@each_sound
def test_time_stretch_changes_the_tempo_alone(sound):
    track = beats(0.45, sound).expand(len(RATES), -1)
    for y, rate in zip(applied(TimeStretch(), track, RATES), RATES.tolist(), strict=True):
        assert beat_period(y[: int(6 * RATE / max(1, rate))]) == pytest.approx(0.45 / rate, rel=0.01)
    for hertz in (220.0, 1_000.0):
        tone = sine(hertz, 4).expand(len(RATES), -1)
        y = applied(TimeStretch(), tone, RATES)[:, : 3 * RATE]
        assert cents(peaks(y), hertz).abs().max() < 5
        assert decibels(y, tone).abs().max() < 0.1


@each_sound
def test_no_beat_is_lost_or_doubled_by_a_stretch(sound):
    track = beats(0.25, sound).expand(len(RATES), -1)
    for y, rate in zip(applied(TimeStretch(), track, RATES), RATES.tolist(), strict=True):
        energies = [
            y[int((0.25 * beat / rate - 0.03) * RATE) :][: int(0.16 * RATE)].square().sum()
            for beat in range(1, 18)
        ]
        torch.testing.assert_close(torch.stack(energies), sound.square().sum().expand(17), rtol=0.25, atol=0)


@each_sound
def test_no_beat_is_lost_by_a_shift(sound):
    track = beats(0.25, sound).expand(len(SEMITONES), -1)
    for y in applied(PitchShift(), track, SEMITONES):
        for beat in range(1, 18):
            energy = y[int((0.25 * beat - 0.03) * RATE) :][: int(0.16 * RATE)].square().sum()
            assert 0.3 < energy / sound.square().sum() < 2  # shorter and without what would alias, or longer


@each_sound
def test_speed_changes_tempo_and_pitch(sound):
    track = beats(0.45, sound).expand(len(RATES), -1)
    for y, rate in zip(applied(Speed(), track, RATES), RATES.tolist(), strict=True):
        assert beat_period(y[: int(6 * RATE / max(1, rate))]) == pytest.approx(0.45 / rate, rel=0.01)
    tone = sine(1_000.0, 4).expand(len(RATES), -1)
    y = applied(Speed(), tone, RATES)[:, : 3 * RATE]
    assert cents(peaks(y), 1_000 * RATES).abs().max() < 0.1
    assert decibels(y, tone).abs().max() < 0.02


@pytest.mark.parametrize("rate", [0.667, 0.91, 1.1, 1.4983])
@pytest.mark.parametrize("hertz", [100.0, 1_000.0, 2_500.0, 4_000.0])
def test_resampled_tones_are_clean(hertz, rate):
    time = torch.arange(2 * RATE).double()
    y = always(Speed, rate=rate)(sine(hertz, 4)[None])[0, 800:-800].double()
    basis = torch.stack(
        [wave(2 * torch.pi * hertz * rate * time / RATE) for wave in (torch.sin, torch.cos)], 1
    )
    basis, y = basis[: len(y)], y[: 2 * RATE]
    rest = y - basis @ torch.linalg.lstsq(basis, y).solution
    assert 20 * (rest.std() / y.std()).log10() < -50


def test_what_would_alias_is_left_out():
    for hertz, rate in ((7_000.0, 1.4983), (7_700.0, 1.25)):
        tone = sine(hertz)[None]
        assert decibels(always(Speed, rate=rate)(tone)[:, 800 : 2 * RATE], tone) < -30


def test_speed_is_sampling_of_the_continuous_signal():
    rng = torch.Generator().manual_seed(0)
    phases = 6.28 * torch.rand(20, generator=rng, dtype=torch.float64)
    hertz = 50 + 3_000 * torch.rand(20, generator=rng, dtype=torch.float64)
    time = torch.arange(2 * RATE).double()[:, None] / RATE

    def at(time):
        return torch.sin(2 * torch.pi * hertz * time + phases).mean(1).float()

    y = applied(Speed(), at(time).expand(len(RATES), -1), RATES)
    for row, rate in zip(y, RATES.tolist(), strict=True):
        torch.testing.assert_close(row[50:20_000], at(time * rate)[50:20_000], atol=1e-3, rtol=0)


@each_kind
def test_neutral_parameters_change_nothing(kind, noise):
    neutral = 0.0 if kind is PitchShift else 1.0
    clips = torch.cat([noise, sine(440.0, 1).expand(2, -1), torch.zeros(1, RATE)])
    y = applied(kind(), clips, torch.full((9,), neutral))
    torch.testing.assert_close(y, clips, atol=1e-5, rtol=0)


@each_kind
def test_level_is_kept(kind, noise):
    clips = torch.nn.functional.avg_pool1d(noise[:1], 8, 1).repeat(1, 4)  # dark: no faster speed cuts much
    values = SEMITONES if kind is PitchShift else RATES
    y = applied(kind(), clips.expand(len(values), -1), values)[:, : 3 * RATE]
    assert decibels(y, clips).abs().max() < 1


def test_pitch_shift_fills_the_clip_to_its_end():
    clips = piece(1, 0).expand(len(SEMITONES), -1)
    tone = sine(300.0)[None].expand(len(SEMITONES), -1)
    for clip in (clips, tone):
        y = applied(PitchShift(), clip, SEMITONES)
        assert decibels(y[:, -800:], clip[:, -800:]).abs().max() < (0.3 if clip is tone else 4)


# Lengths


@each_kind
@settings(max_examples=40, deadline=None)
@given(samples=st.integers(1, 3_000), share=st.floats(0, 1), seed=st.integers(0, 100))
def test_any_length_and_parameter(kind, samples, share, seed):
    transform = kind()
    ((low, high),) = transform.ranges.values()
    x = torch.randn(3, samples, generator=torch.Generator().manual_seed(seed))
    values = torch.tensor([low + share * (high - low), low, high])
    y = applied(transform, x, values)
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert y.abs().max() <= 2 * x.abs().max()
    alone = applied(transform, x[:1], values[:1])
    torch.testing.assert_close(alone[0], y[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", [Speed, TimeStretch])
def test_what_lies_beyond_the_input_is_silence(kind, noise):
    y = always(kind, rate=1.25)(noise)
    ends = RATE / 1.25
    assert y[:, : int(ends - 400)].unfold(1, 400, 400).square().mean(2).min() > 1e-3
    assert not y[:, int(ends + 900) :].any()


@pytest.mark.parametrize(
    ("transform", "reach"),
    [
        (PitchShift(), 1.0), (Speed((0.8, 1.2)), 1.2), (TimeStretch((0.8, 1.25)), 1.25),
        (Speed((0.5, 0.9)), 1.0),
    ],
)  # fmt: skip
def test_a_chain_reads_what_a_view_is_made_of(transform, reach):
    views = ViewChain(Crops(0.5, 1), waveform=[transform])
    assert views.reach == reach
    crop = torch.randn(4, round(reach * 0.5 * RATE), generator=torch.Generator().manual_seed(0))
    views.waveform[0].ranges = {name: (high, high) for name, (_, high) in transform.ranges.items()}

    class Batch:
        crops, keys = (crop,), hash_keys(0, np.arange(4))

    (view,) = views(Batch())
    assert view.shape == (4, 8_000)
    assert (view[:, -160:].std(1) > 0.3).all()


# What they are for


@each_kind
def test_gradients_are_those_of_a_linear_map(kind, noise):
    values = torch.full((2,), -3.0 if kind is PitchShift else 1.1)
    x = noise[:2, :4_000].clone().requires_grad_()
    y = applied(kind(), x, values)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    # Where the splices are is no function of the input; between them, output is linear in it.
    assert (gradient * x).sum().item() == pytest.approx((y * weights).sum().item(), rel=1e-3)
    assert (gradient != 0).any(1).all()


def test_pitch_shift_is_closer_to_the_truth_than_librosa_and_nearly_as_close_as_audiomentations():
    librosa, audiomentations = pytest.importorskip("librosa"), pytest.importorskip("audiomentations")
    semitones = torch.tensor([-7.0, -4.0, -1.5, 0.5, 3.0, 6.0])
    source = torch.stack([piece(1, seed) for seed in range(6)])
    truth = torch.stack([piece(2 ** (by / 12), seed) for seed, by in enumerate(semitones.tolist())])
    frontend = LogMel(RATE, hop_length=320, n_mels=64)

    def error(y):
        """Mean difference of log-mels in dB."""
        return ((frontend(y) - frontend(truth)) * frontend.std).abs().mean().item()

    def each(shift):
        rows = zip(source.numpy(), semitones.tolist(), strict=True)
        return torch.stack([torch.from_numpy(shift(row, by)) for row, by in rows])

    ours = error(applied(PitchShift(), source, semitones))
    vocoder = error(each(lambda row, by: librosa.effects.pitch_shift(row, sr=RATE, n_steps=by)))
    theirs = error(each(lambda row, by: audiomentations.PitchShift(by, by, p=1.0)(row, RATE)))
    assert error(source) > 5
    assert ours < 0.8 * vocoder
    assert ours < theirs + 0.6


def test_centroids_agree_with_audiomentations():
    audiomentations = pytest.importorskip("audiomentations")
    source = torch.stack([piece(1, seed) for seed in range(len(SEMITONES))])
    rows = zip(source.numpy(), SEMITONES.tolist(), strict=True)
    theirs = torch.stack(
        [torch.from_numpy(audiomentations.PitchShift(by, by, p=1.0)(row, RATE)) for row, by in rows]
    )
    ours = applied(PitchShift(), source, SEMITONES)
    centroids = []
    for y in (ours, theirs):
        spectrum = torch.fft.rfft(y).abs().square()
        centroids.append((spectrum * torch.linspace(0, RATE / 2, spectrum.shape[1])).sum(1) / spectrum.sum(1))
    torch.testing.assert_close(*centroids, rtol=0.06, atol=0)


def test_rates_that_stand_still_or_run_backwards_are_refused():
    for kind in (Speed, TimeStretch):
        with pytest.raises(ValueError, match=f"{kind.__name__}: .*rates are above 0"):
            kind((0.0, 1.0))
