"""What the operator configures for LND, and what is told of a connection that is wrong."""

from pathlib import Path

import pytest

from backends.lnd import LndBackend
from nwc_service.backend import BackendUnavailable, PaymentKind, ReleaseRule
from nwc_service.wallet.units import BackendName
from tests.backends.lnd_double import GET_INFO, STATE, lnd_double
from tests.backends.lnd_http import Answer
from tests.backends.lnd_rows import INFO, MACAROON, a_backend, error
from tests.backends.lnd_tls import a_certificate, a_tls_double

GOOD: dict[str, object] = {"url": "https://127.0.0.1:8080/", "macaroon_hex": MACAROON}


def configured(options: dict[str, object]) -> LndBackend:
    return LndBackend(BackendName("mine"), options, data_dir=Path())


def test_what_is_needed_is_an_address_and_a_macaroon() -> None:
    backend = configured(GOOD)

    assert backend.release_rules[PaymentKind.BOLT11] is ReleaseRule.EXPIRY
    assert backend.release_rules[PaymentKind.KEYSEND] is ReleaseRule.MANUAL


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"macaroon_hex": MACAROON}, "url is missing", id="no-url"),
        pytest.param({"url": GOOD["url"]}, "either macaroon_path or", id="no-macaroon"),
        pytest.param(GOOD | {"macaroon_path": "/x"}, "either macaroon_path or", id="two"),
        pytest.param(GOOD | {"url": "127.0.0.1:8080"}, "url: must be https", id="no-scheme"),
        pytest.param(
            GOOD | {"url": "http://lnd.example.org:8080"}, "anybody on the way", id="in-clear"
        ),
        pytest.param(
            GOOD | {"url": "https://a:b@lnd.example.org"}, "must hold no user", id="password"
        ),
        pytest.param(GOOD | {"macaroon_hex": "zz"}, "macaroon_hex: must be", id="no-hex"),
        pytest.param(GOOD | {"macaroon_hex": " "}, "macaroon_hex: must be", id="blank"),
        pytest.param(GOOD | {"macaroon": "x"}, "macaroon is unknown; known are", id="unknown"),
        pytest.param(GOOD | {"timeout_s": 0}, "timeout_s: ", id="no-time"),
        pytest.param(GOOD | {"hold_expiry_delta": 0}, "hold_expiry_delta: ", id="no-delta"),
        pytest.param(GOOD | {"allow_broad_macaroon": "perhaps"}, "allow_broad", id="no-bool"),
    ],
)
def test_a_wrong_key_is_named_and_no_credential_is_shown(
    options: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=r"^backend 'mine' \(lnd\): ") as wrong:
        configured(options)

    assert words in str(wrong.value)
    assert MACAROON[:16] not in str(wrong.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"])
def test_http_is_enough_on_the_same_machine(url: str) -> None:
    configured(GOOD | {"url": url})


# --- what LND says when it is started


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        pytest.param(STATE, Answer(200, {"state": "LOCKED"}), "lncli unlock", id="locked"),
        pytest.param(
            GET_INFO, Answer(200, dict(INFO) | {"version": "0.19.3-beta"}), "0.20 or", id="old"
        ),
        pytest.param(
            GET_INFO,
            Answer(500, error(2, "verification failed: signature mismatch")),
            "backend bake lnd",
            id="macaroon-of-another",
        ),
        pytest.param(
            GET_INFO,
            Answer(500, error(2, "the RPC server is in the process of starting up, but not")),
            "wait until it has started",
            id="starting",
        ),
        pytest.param(GET_INFO, Answer(404, error(5, "Not Found")), "REST listener", id="404"),
        pytest.param(GET_INFO, Answer(502, "Bad Gateway"), "see LND's log", id="proxy"),
        pytest.param(GET_INFO, Answer(200, "[]"), "see LND's log", id="another-shape"),
    ],
)
async def test_what_is_wrong_at_the_start_is_told_with_a_remedy(
    name: str, answer: Answer, words: str
) -> None:
    async with lnd_double() as double:
        double.script[name] = answer
        backend = a_backend(double.url)

        with pytest.raises(BackendUnavailable) as wrong:
            await backend.start()

        assert "backend 'mine' (lnd), start: " in str(wrong.value)
        assert words in str(wrong.value)
        assert MACAROON[:16] not in str(wrong.value)
        await backend.close()


async def test_before_the_start_nothing_is_asked() -> None:
    backend = configured(GOOD)

    with pytest.raises(BackendUnavailable, match="start it first"):
        await backend.balance()


# --- the certificate


async def test_the_certificate_that_is_named_is_trusted(tmp_path: Path) -> None:
    certificate = a_certificate(tmp_path, "lnd")
    async with a_tls_double(certificate) as double:
        backend = a_backend(double.url, tls_cert=certificate)

        assert (await backend.start()).alias == "alice"
        await backend.close()


@pytest.mark.attack("A23")
@pytest.mark.parametrize("trust", ["another", "another-host", "system"])
async def test_no_other_certificate_is_and_it_hears_nothing(tmp_path: Path, trust: str) -> None:
    host = "127.0.0.2" if trust == "another-host" else "127.0.0.1"
    served = a_certificate(tmp_path, "lnd", host=host)
    named = {"another": a_certificate(tmp_path, "other"), "another-host": served}
    async with a_tls_double(served) as double:
        backend = a_backend(double.url, tls_cert=named.get(trust))

        with pytest.raises(BackendUnavailable, match="copy LND") as refused:
            await backend.start()

        what = "not for the host of url" if trust == "another-host" else "not the one of tls"
        assert what in str(refused.value)
        assert double.requests == []
        await backend.close()


async def test_a_certificate_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    backend = configured(GOOD | {"tls_cert": tmp_path / "none"})

    with pytest.raises(BackendUnavailable, match="tls_cert cannot be read"):
        await backend.start()
