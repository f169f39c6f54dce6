"""Arguments of every command: YAML files set the defaults, the command line wins."""

import argparse
import difflib
import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from crowd.io.errors import InputError, ending, extra
from crowd.io.files import read_yaml

# No command has begun yet that could say it.
with ending(), extra("commands", "every command"):
    import jsonargparse
    import yaml
    from jsonargparse import Namespace
    from jsonargparse.typing import ClosedUnitInterval as ClosedUnitInterval
    from jsonargparse.typing import NonNegativeInt as NonNegativeInt
    from jsonargparse.typing import PositiveInt as PositiveInt
    from jsonargparse.typing import restricted_number_type

# What numpy's RandomState takes, which draws the starts of k-means as scikit-learn does.
Seed = restricted_number_type("Seed", int, [(">=", 0), ("<=", 2**32 - 1)])
# jsonargparse's own take infinity; their names are taken.
PositiveFloat = restricted_number_type("PositiveNumber", float, [(">", 0), ("<", math.inf)])
NonNegativeFloat = restricted_number_type("NonNegativeNumber", float, [(">=", 0), ("<", math.inf)])


def documented(argv: Sequence[str] | None, *commands: str) -> list[list[str]]:
    """Return `argv` (default: the command line); where it is empty, say so, and return `commands`.

    These are arguments as the papers' pages mean them, to be run one after the other.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv:
        return [argv]
    print(f"no arguments, so as documented: {'; then '.join(commands)}", flush=True)
    return [shlex.split(command) for command in commands]


# How a yes/no option is declared, `add_argument("--x", action=YES_NO, default=…)`; it is given as
# --x, as --no-x, or with a word of YAML behind it.
YES_NO = jsonargparse.ActionYesNo(no_prefix="no-")
ANSWERS = {"true": True, "yes": True, "false": False, "no": False}


class _Help(jsonargparse.DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help that keeps the lines of a description, which may hold commands."""

    def _expand_help(self, action):
        """Show classes by their names, no function as a type, and None neither way."""
        text = super()._expand_help(action)
        text = re.sub(r"type: <function [^>]*>(, )?|(, )?default: null| \| null", "", text)
        return re.sub(r"<class '(\w+)'>", r"\1", text).replace(" ()", "")


class ArgumentParser(jsonargparse.ArgumentParser):
    """`jsonargparse.ArgumentParser` whose errors name the file, the key and the nearest known key.

    An option is given with dashes or with underscores, whichever way it is declared.
    `--config FILE` is always there, as often as there are files: what a later one sets wins, and
    the command line wins over all. With `preset`, a function from the arguments that these give to
    a YAML file (or None), that file is read before them.
    """

    def __init__(self, *args, preset: Callable[[dict], Path | None] | None = None, **kwargs):
        super().__init__(*args, formatter_class=_Help, allow_abbrev=False, **kwargs)
        self.preset, self.unused = preset, set()
        about = "YAML file that sets the defaults below; repeated: the later one wins"
        self.add_argument("--config", action="append", default=[], metavar="FILE", help=about)

    def add_argument(self, *names, **settings):
        """Declare an argument; its options become known, and shown, with dashes."""
        # jsonargparse compiles these lines anew for the groups of a parser; it looks for the hidden
        # options, which are its own, under their names.
        if settings.get("help") != argparse.SUPPRESS:
            names = dict.fromkeys(map(dashed, names))
        return super().add_argument(*names, **settings)

    def use_only(self, *names: str) -> None:
        """Let files alone set the arguments declared so far, but those of `names`.

        For a command that shares its files with another, and does nothing with the rest of them.
        """
        for action in self._actions:
            if action.default != argparse.SUPPRESS and action.dest not in (*names, "config"):
                self.unused.add(action.dest)
                action.help = argparse.SUPPRESS

    def error(self, message: str, ex: Exception | None = None):  # noqa: ARG002 - jsonargparse's
        """Raise `InputError` in place of usage lines, so that every command fails the same way."""
        raise InputError(self._explain(" ".join(message.split())))

    def read(self, argv: Sequence[str] | None = None) -> Namespace:
        """Parse `argv` (default: the command line) over the YAML files."""
        argv = self._spell(sys.argv[1:] if argv is None else argv)
        # All checks are left to the full parse, and the answer to --help, which knows the files.
        asked = [word for word in argv if word not in ("-h", "--help")]
        given = vars(self.parse_args(asked, defaults=False, _skip_validation=True))
        for name in self.unused.intersection(given):
            flag = "--" + name.replace("_", "-")
            raise InputError(f"{flag} has no effect on this command: leave it out")
        configs = [Path(file) for file in given.get("config", []) if file]
        values = {action.dest: action.default for action in self._actions}
        for config in configs:
            values |= self._read_file(config)
        preset = self.preset(values | given) if self.preset else None
        files = [preset, *configs] if preset else configs
        # jsonargparse takes no file without a key.
        self.default_config_files = [str(file) for file in files if self._read_file(file)]
        arguments = self.parse_args(argv).clone(with_meta=False)
        for name, value in vars(arguments).items():
            arguments[name] = _with_home(value)
            for plain in (int, float):
                # PositiveInt and the like are classes of their own, which no file takes.
                if isinstance(value, plain) and not isinstance(value, bool):
                    arguments[name] = plain(value)
        return arguments

    def _spell(self, argv: Sequence[str]) -> list[str]:
        """Write options with dashes, and the answer to a yes/no option as one of its two flags."""
        switches = {}
        for action in self._actions:
            if isinstance(action, jsonargparse.ActionYesNo):
                yes, no = action.option_strings
                switches |= {yes: {True: yes, False: no}, no: {True: no, False: yes}}
        words, switch = [], None
        for word in map(dashed, argv):
            flag, equals, value = word.partition("=")
            if equals and flag in switches:
                words.append(flag)
                switch, word = flag, value
            if switch and word.lower() in ANSWERS:
                words[-1] = switches[switch][ANSWERS[word.lower()]]
                switch = None
            else:
                words.append(word)
                switch = word if word in switches else None
        return words

    def _read_file(self, file: Path) -> dict:
        """Return what a YAML file sets, by argument; raise `InputError` for what it may not set."""
        values = read_yaml(file, "name an existing, valid YAML file with --config")
        keys = [str(key).replace("-", "_") for key in values]
        for key in keys:
            if keys.count(key) > 1:
                raise InputError(f"{file}: '{key}' is given twice: keep one of them")
        values = dict(zip(keys, values.values(), strict=True))
        # All but --help and jsonargparse's own.
        known = {one.dest: one for one in self._actions if one.default != argparse.SUPPRESS}
        del known["config"]
        lists = [one.dest for one in self._actions if one.nargs in ("*", "+") or one.nargs == 2]
        for key, value in values.items():
            if key not in known:
                raise InputError(f"{file}: unknown key '{key}'{nearest(key, known)}")
            if value is None and known[key].default is not None:
                raise InputError(f"{file}: '{key}' has no value: give one, or leave the line out")
            # Of anything else jsonargparse fails in ways of its own.
            if key in lists and not isinstance(value, list):
                raise InputError(f"{file}: '{key}' is a list: write it as [first, second]")
            if known[key].nargs == 2 and len(value) != 2:
                raise InputError(f"{file}: '{key}' is two values: write it as [first, second]")
            try:
                self.parse_object({key: value}, defaults=False, _skip_required=True)
            except InputError as error:
                named = "" if key in str(error) else f"'{key}': "
                raise InputError(f"{file}: {named}{error}") from None
        return values

    def _explain(self, message: str) -> str:
        unknown = re.search(r"unrecognized arguments: (\S+)", message)
        if unknown:
            option = unknown.group(1).split("=")[0]
            shown = [action for action in self._actions if action.help != argparse.SUPPRESS]
            flags = [flag for action in shown for flag in action.option_strings]
            return f"unknown argument '{option}'{nearest(option, flags)}"
        wrong = re.search(r'Parser key "(\w+)"( element \d+)?: (.*)', message)
        if wrong:
            key, element, fault = wrong.groups(default="")
            # The value is no longer as it was written: 2024_05 is 202405, and no is False.
            if re.match(r"Expected a <class 'str'>\. Got value: [^\[{]", fault):
                fault = "write it in quotes, as it stands in the file"
            return f"'{key}'{element}: {fault.strip()}"
        return message


def dashed(word: str) -> str:
    """Spell an option with dashes; what follows its name after `=` or `.` stays."""
    return re.sub(r"^--\w[\w-]*", lambda name: name.group().replace("_", "-"), word)


def _with_home(value):
    """Put the home folder for `~` at a text's beginning, as a shell does; also in a list."""
    if isinstance(value, list):
        return [*map(_with_home, value)]
    begins = isinstance(value, str) and (value == "~" or value.startswith("~/"))
    return os.path.expanduser(value) if begins else value


def nearest(name: str, known: Collection[str]) -> str:
    """End of a message about an unknown name: the known one that is most like it, or all."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(sorted(known))}"


def save_arguments(arguments: Namespace) -> str:
    """Return the resolved arguments as YAML, the text that `--config` reads back."""
    values = {key: value for key, value in vars(arguments).items() if key != "config"}
    return yaml.safe_dump(values, sort_keys=False)
