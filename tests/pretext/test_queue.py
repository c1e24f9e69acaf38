import pytest
import torch

from mvssl.pretext.queue import Queue


def rows(*values):
    return torch.tensor(values, dtype=torch.float32)[:, None]


def test_the_newest_stand_in_front_and_the_oldest_leave():
    queue = Queue(5, 1)
    for newest, filled in (((1, 2), 2), ((3, 4), 4), ((5, 6), 5)):
        assert queue.full() is None
        queue.push([rows(*newest)])
        assert queue.filled == filled
    assert torch.equal(queue.full(), rows(5, 6, 3, 4, 1)[None])


def test_a_batch_may_be_larger_than_the_queue():
    queue = Queue(3, 1)
    queue.push([rows(1, 2, 3, 4)])
    assert torch.equal(queue.full(), rows(1, 2, 3)[None])


def test_lanes_move_apart():
    queue = Queue(2, 1, lanes=3)
    queue.push([rows(1, 2), rows(3, 4), rows(5, 6)])
    queue.push([rows(7), rows(8)])
    assert torch.equal(queue.full(), torch.stack([rows(7, 1), rows(8, 3), rows(5, 6)]))


def test_it_stands_still_in_evaluation():
    queue = Queue(2, 1).eval()
    queue.push([rows(1, 2)])
    assert queue.filled == 0
    assert queue.full() is None


def test_it_keeps_no_graph():
    queue = Queue(2, 1)
    queue.push([rows(1, 2).requires_grad_()])
    assert not queue.full().requires_grad


def test_an_empty_queue_is_never_full():
    queue = Queue(0, 4)
    queue.push([torch.ones(3, 4)])
    assert queue.full() is None


def test_it_goes_on_from_its_state():
    queue, other = Queue(4, 1), Queue(4, 1)
    queue.push([rows(1, 2, 3)])
    other.load_state_dict(queue.state_dict())
    for each in (queue, other):
        each.push([rows(4)])
    assert torch.equal(other.full(), queue.full())


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="queue_size=-1 must not be negative"):
        Queue(-1, 4)
