import re
import subprocess
import sys
from hashlib import sha256

import pytest

from tests.demo.__main__ import exit_code
from tests.demo.story import Mismatch, PrintedStory
from tests.parts import require_real
from tests.regtest import build

SECRETS = re.compile(r"nostr\+walletconnect:|secret=|lnbcrt[0-9]|nsec1")


def test_the_demo_ends_with_exit_0_and_shows_no_secret() -> None:
    shown = demo()

    assert "alice's balance, msat                750000\n" in shown
    assert "bob's balance, msat                  149000\n" in shown


@pytest.mark.real
@pytest.mark.timeout(300)
def test_the_demo_on_two_real_lnds_shows_the_same_tour() -> None:
    require_real("lnd (make regtest-tools)", build.built())

    shown = demo("--backend", "lnd")

    assert "alice's balance, msat                750000\n" in shown
    assert "bob's balance, msat                  150000\n" in shown


def demo(*options: str) -> str:
    """What it prints, to its good end."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.demo", *options],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert SECRETS.search(done.stdout) is None
    assert not preimages(done.stdout)
    return done.stdout


def test_what_is_not_as_it_should_be_ends_the_story(
    capsys: pytest.CaptureFixture[str],
) -> None:
    story = PrintedStory()

    code = exit_code(lambda: story.check("balance, msat", 749_000, expected=750_000))

    assert code == 1
    assert capsys.readouterr().err == (
        "\nNOT AS IT SHOULD BE: balance, msat: 749000; it should be 750000\n"
    )
    assert story.checks == 0


def test_a_library_that_fails_is_told_in_one_line_without_its_secret(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise ValueError(f"cannot use\nnostr+walletconnect://{'ab' * 32}?secret={'cd' * 32}")

    code = exit_code(fail)

    assert code == 1
    assert capsys.readouterr().err == (
        "\nNOT AS IT SHOULD BE: ValueError: cannot use [redacted]\n"
    )


def test_what_is_as_it_should_be_is_told_and_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    story = PrintedStory()

    code = exit_code(lambda: story.check("methods", {"b", "a"}, expected={"a", "b"}))

    assert code == 0
    assert capsys.readouterr().out.split() == ["ok", "methods", "a", "b"]
    assert story.checks == 1


def test_a_mismatch_names_both_figures() -> None:
    with pytest.raises(Mismatch, match=r"^fee: 1 2; it should be none$"):
        PrintedStory().check("fee", (1, 2), expected=[])


def preimages(text: str) -> list[str]:
    """Whatever in the text hashes to something else in it."""
    words = set(re.findall(r"\b[0-9a-f]{64}\b", text))
    assert words, "the demo shows payment hashes"
    return [word for word in words if sha256(bytes.fromhex(word)).hexdigest() in words]
