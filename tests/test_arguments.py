import pytest

from mvssl.arguments import several


def test_lists_are_given_in_several_ways():
    assert several("a,b", str, "x") == ("a", "b")
    assert several(["a", "b"], str, "x") == ("a", "b")
    assert several("0.1,1", float, "x") == (0.1, 1.0)
    assert several(3, int, "x") == (3,)


def test_a_wrong_item_names_the_argument():
    with pytest.raises(ValueError, match="seeds='0,x'"):
        several("0,x", int, "seeds")
