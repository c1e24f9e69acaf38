import builtins
import warnings

import pytest

from mvssl.registry import Registry


@pytest.fixture
def fruit():
    registry = Registry("fruit")
    registry.register("apple", paper="arXiv:1", summary="Red.")(dict)
    registry.register("banana")(list)
    return registry


class Plugin:
    """An entry point that registers a name when it is loaded."""

    def __init__(self, registry, name):
        self.registry, self.name, self.value, self.loads = registry, name, f"package:{name}", 0

    def load(self):
        self.loads += 1
        if self.name == "broken":
            raise ImportError("no such module")
        self.registry.register(self.name)(dict)


@pytest.fixture
def install(monkeypatch):
    """Makes entry points look installed."""

    def announce(group, plugins):
        monkeypatch.setattr(
            "mvssl.registry.entry_points", lambda *, group: announced.get(group, ()), raising=True
        )
        announced = {group: plugins}

    return announce


def test_an_entry_describes_what_was_registered(fruit):
    entry = fruit.entry("apple")
    assert (entry.name, entry.target, entry.paper, entry.summary) == ("apple", dict, "arXiv:1", "Red.")
    with pytest.raises(AttributeError):
        entry.name = "pear"


def test_the_summary_is_the_first_line_of_the_docstring(fruit):
    @fruit.register("cherry")
    def cherry():
        """A stone fruit.

        With details.
        """

    @fruit.register("date")
    def date(): ...

    assert fruit.entry("cherry").summary == "A stone fruit."
    assert fruit.entry("date").summary == ""
    assert fruit.entry("cherry").target is cherry
    assert fruit.entry("date").target is date


def test_names_keep_their_order_and_match_patterns(fruit):
    fruit.register("avocado")(dict)
    assert fruit.names() == ["apple", "banana", "avocado"]
    assert fruit.names("a*") == ["apple", "avocado"]
    assert fruit.names("A*") == []


def test_create_passes_arguments_on(fruit):
    assert fruit.create("apple", [("seeds", 5)], colour="red") == {"seeds": 5, "colour": "red"}


def test_a_taken_name_is_refused_and_nothing_changes(fruit):
    with pytest.raises(ValueError, match="fruit 'apple' is already registered by <class 'dict'>"):
        fruit.register("apple")(list)
    assert fruit.entry("apple").target is dict


def test_a_wrong_name_suggests_close_ones(fruit):
    with pytest.raises(ValueError, match=r"no fruit named 'aple'; did you mean 'apple'\?"):
        fruit.entry("aple")
    with pytest.raises(ValueError, match="no fruit named 'xyz'; known: apple, banana"):
        fruit.create("xyz")


def test_plugins_are_loaded_once_on_the_first_look_up(install):
    registry = Registry("fruit", group="some.fruit")
    plugin = Plugin(registry, "fig")
    install("some.fruit", [plugin])
    assert plugin.loads == 0
    assert registry.entry("fig").target is dict
    assert registry.names() == ["fig"]
    assert plugin.loads == 1


def test_only_the_registrys_own_group_is_loaded(install):
    registry = Registry("fruit", group="some.fruit")
    plugin = Plugin(registry, "fig")
    install("other.fruit", [plugin])
    assert registry.names() == []
    assert plugin.loads == 0


def test_a_broken_plugin_is_skipped_with_a_warning(install):
    registry = Registry("fruit", group="some.fruit")
    install("some.fruit", [Plugin(registry, "broken"), Plugin(registry, "fig")])
    with pytest.warns(UserWarning, match=r"fruit plugin 'broken' \(package:broken\): ImportError"):
        assert registry.names() == ["fig"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert registry.names() == ["fig"]


def test_a_plugin_cannot_replace_an_entry(install):
    registry = Registry("fruit", group="some.fruit")
    registry.register("fig")(list)
    install("some.fruit", [Plugin(registry, "fig")])
    with pytest.warns(UserWarning, match="already registered"):
        assert registry.entry("fig").target is list


def test_the_modules_of_a_package_are_imported_on_the_first_look_up(tmp_path, monkeypatch):
    (tmp_path / "orchard").mkdir()
    (tmp_path / "orchard" / "__init__.py").touch()
    (tmp_path / "orchard" / "pear.py").write_text("import builtins\nbuiltins.pears = 'ripe'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(builtins, "pears", "green", raising=False)
    registry = Registry("fruit", package="orchard")
    assert builtins.pears == "green"
    assert registry.names() == []
    assert builtins.pears == "ripe"
