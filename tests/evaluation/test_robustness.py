import json

import numpy as np
import pytest
import soundfile
import torch

from mvssl.data import open_corpus
from mvssl.data.reading import AudioReader
from mvssl.evaluation import evaluate
from mvssl.evaluation.robustness import Damage, Mp3, robustness, standard_damages
from mvssl.seeding import hash_keys

CROP = {"seconds": 1.0, "sample_rate": 16_000}
NOTHING = Damage("nothing", "", (0.0,), lambda level, rate: lambda crops, keys: crops)


@pytest.fixture(scope="module")
def corpus(music):
    return open_corpus(music)


def damage(name):
    return next(each for each in standard_damages(16_000) if each.name == name)


def test_no_damage_is_the_clean_score_exactly(encoder, corpus):
    found = robustness(encoder, corpus, damages=[NOTHING])
    assert found.values["nothing"][0.0] == found.clean
    change = found.changes["nothing"][0.0]
    assert (change.value, change.low, change.high) == (0, 0, 0)
    clean = evaluate(encoder, corpus, fractions=(1.0,))
    assert found.clean.value == pytest.approx(clean.mean()[1.0], abs=1e-12)
    assert found.clean.low == pytest.approx(clean.interval()[1.0].low, abs=1e-12)
    assert found.chance == pytest.approx(clean.chance)


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """Tracks of noise with a low tone, a high one, both or none, and tags that say which."""
    folder, rng = tmp_path_factory.mktemp("tones"), np.random.default_rng(0)
    time, lines = np.arange(16_000) / 16_000, []
    for track in range(60):
        tags = [tag for place, tag in enumerate(("low", "high")) if track >> place & 1]
        audio = rng.normal(0, 0.01, len(time))
        for tag in tags:
            pitch = 300 if tag == "low" else 3000
            audio += 0.1 * np.sin(2 * np.pi * (pitch * time + rng.uniform()))
        soundfile.write(folder / f"{track:02}.wav", audio, 16_000)
        split = ("train", "train", "valid", "test")[track // 4 % 4]
        lines.append(json.dumps({"audio_path": f"{track:02}.wav", "tags": tags, "split": split}))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    return open_corpus(folder)


def hears_tones(audio):
    """Power at both pitches, in the logarithm."""
    spectrum = torch.fft.rfft(audio).abs()
    return torch.stack([spectrum[:, 290:310].amax(1), spectrum[:, 2990:3010].amax(1)], 1).log()


def test_what_damages_take_away_is_gone(tones):
    noise = Damage("noise", "dB SNR", (100.0, -40.0), damage("noise").make)
    found = robustness(hears_tones, tones, damages=[noise, *standard_damages(16_000)[1:]], **CROP)
    assert found.clean.value == 1
    assert found.chance < 0.7
    values = {
        (name, level): each.value for name, levels in found.values.items() for level, each in levels.items()
    }
    assert values["noise", 100.0] == 1
    assert found.values["noise"][-40.0].low < found.chance + 0.1
    assert values["low_pass", 4000.0] == values["mp3", 32.0] == 1
    assert max(values["pitch", semitones] for semitones in (-6.0, -3.0, 3.0, 6.0)) < 0.9


def test_the_probe_hears_no_damaged_track_before_the_test(tones):
    """Tones that sink below the threshold that a probe learned on clean tracks score as if they were none."""
    quiet = Damage("quiet", "", (1.0, 1e-3), lambda level, rate: lambda crops, keys: level * crops)
    found = robustness(lambda audio: hears_tones(audio).clamp_min(1), tones, damages=[quiet], **CROP)
    assert found.values["quiet"][1.0] == found.clean
    # All alike then: average precision is the prevalence, a half.
    assert found.values["quiet"][1e-3].value == pytest.approx(0.5, abs=0.01)


def test_damage_reaches_the_probe_that_was_trained_on_clean_tracks(corpus):
    """Against one probe per level, written out."""

    def bands(audio):
        return torch.stack(
            [part.norm(dim=1) for part in torch.fft.rfft(audio).abs().split(500, 1)], 1
        ).log1p()

    halved = Damage("halved", "", (0.5, 0.25), lambda level, rate: lambda crops, keys: level * crops)
    found = robustness(bands, corpus, damages=[halved], **CROP)
    for level in halved.levels:
        test = set(corpus.indices("test").tolist())
        rows = []
        for track in range(len(corpus)):
            with AudioReader(corpus.path(track)) as reader:
                audio = torch.from_numpy(reader.read()[:32_000].reshape(2, -1))
            rows.append(bands(audio * (level if track in test else 1)).half().float().mean(0).numpy())
        naive = evaluate(np.stack(rows), corpus, fractions=(1.0,))
        assert found.values["halved"][level].value == pytest.approx(naive.mean()[1.0], abs=1e-6)


def test_each_test_track_is_read_once_for_all_levels(encoder, corpus, monkeypatch):
    read = []
    opened = AudioReader.__init__
    monkeypatch.setattr(
        AudioReader, "__init__", lambda self, path: read.append(str(path)) or opened(self, path)
    )
    robustness(encoder, corpus, damages=[damage("noise"), damage("low_pass")])
    test = {str(corpus.path(row)) for row in corpus.indices("test")}
    # Once with all the clean ones, once for the damaged ones.
    assert sorted(read) == sorted([str(corpus.path(row)) for row in range(len(corpus))] + list(test))


def test_workers_and_batches_do_not_matter(encoder, corpus):
    damages = [damage("noise"), damage("pitch")]
    one, three = (robustness(encoder, corpus, damages=damages, workers=workers) for workers in (1, 3))
    assert one.values == three.values


def test_rows_and_table_agree(encoder, corpus):
    found = robustness(encoder, corpus, damages=[damage("low_pass"), NOTHING])
    rows = list(found.rows())
    assert [row["name"] for row in rows[:2]] == ["clean", "low_pass"]
    assert len(rows) == 1 + 2 * (len(found.values["low_pass"]) + 1)
    for row in rows[1:]:
        kept = found.changes if row["metric"] == "ap_change" else found.values
        estimate = kept[row["name"]][row["level"]]
        assert (row["value"], row["low"], row["high"]) == (estimate.value, estimate.low, estimate.high)
        assert f"{estimate.value:.3f} [" in str(found)
    assert {row["unit"] for row in rows} == {"", "Hz"}


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100])
def test_mp3s_have_the_bit_rate_and_do_not_move(rate):
    time = torch.arange(4 * rate) / rate
    audio = 0.3 * (2 * torch.pi * (200 * time + 300 * time.square())).sin()
    crops = audio.reshape(4, -1)
    for kilobits in Mp3.bit_rates(rate)[0] * np.array([1, 2, 4]):
        codec = Mp3(kilobits, rate)
        assert len(codec.code(audio.numpy())) * 8 / 4_000 == pytest.approx(kilobits, rel=0.1)
        coded = codec(crops, hash_keys(0, np.arange(4)))
        assert coded.shape == crops.shape
        lags = [(coded.flatten().roll(lag) - audio)[200:-200].square().mean() for lag in range(-3, 4)]
        assert int(np.argmin(lags)) == 3
        # A sweep is easy to code.
        assert lags[3] < 0.01 * audio.square().mean()


def test_coarser_mp3s_are_worse(music):
    with AudioReader(open_corpus(music).path(0)) as reader:
        audio = torch.from_numpy(reader.read()[None])
    errors = [(Mp3(rate, 16_000)(audio, hash_keys(0)) - audio).norm() for rate in (64, 32, 16, 8)]
    assert errors == sorted(errors)
    assert 0.05 < errors[0] / audio.norm() < errors[-1] / audio.norm() < 1


def test_only_levels_that_exist_are_standard():
    of_rate = {rate: {each.name: each.levels for each in standard_damages(rate)} for rate in (16_000, 44_100)}
    assert of_rate[16_000]["low_pass"][0] == 4000
    assert of_rate[44_100]["low_pass"][0] == 8000
    assert of_rate[16_000]["mp3"] == (32, 16, 8)
    assert of_rate[44_100]["mp3"] == (128, 64, 32)
    assert "mp3" not in {each.name for each in standard_damages(10_000)}


@pytest.mark.parametrize(
    ("damages", "options", "message"),
    [
        ([], {}, "give at least one"),
        ([NOTHING, NOTHING], {}, "a name of its own"),
        ([Damage("mp3", "kbit/s", (320.0,), Mp3)], {}, "8 to 160 kbit/s, not 320"),
        ([Damage("mp3", "kbit/s", (8.0,), Mp3)], {"sample_rate": 10_000}, "no sample rate of 10000 Hz"),
    ],
)
def test_what_does_not_exist_is_refused_before_anything_is_embedded(damages, options, message, corpus):
    with pytest.raises(ValueError, match=message):
        robustness(lambda audio: 1 / 0, corpus, damages=damages, **{**CROP, **options})
    with pytest.raises(ValueError, match="'empty' has no level"):
        Damage("empty", "", (), Mp3)
    with pytest.raises(ValueError, match="pass seconds="):
        robustness(torch.nn.Identity(), corpus)
