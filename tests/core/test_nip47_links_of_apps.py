"""Links as the libraries write them, past what the specs say."""

from nwc_service.nip47 import walletauth

CLIENT = "b889ff5b1513b641e2a139f661a661364979c5beee91842f8f0ef42ab558e9d4"
RELAY = "relay=wss%3A%2F%2Frelay.example"


def test_applesauce_has_pluses_between_the_methods() -> None:
    """It appends to a URLSearchParams, which writes a space as a form does."""
    found = walletauth.parse(
        f"nostr+walletauth://{CLIENT}?{RELAY}&request_methods=pay_invoice+get_balance"
    )

    assert found.request_methods == ("pay_invoice", "get_balance")


def test_applesauce_encodes_metadata_twice() -> None:
    found = walletauth.parse(
        f"nostr+walletauth://{CLIENT}?{RELAY}&metadata=%257B%2522a%2522%253A%2522%2525%2522%257D"
    )

    assert found.metadata == {"a": "%"}


def test_metadata_that_is_encoded_once_keeps_its_percents() -> None:
    found = walletauth.parse(
        f"nostr+walletauth://{CLIENT}?{RELAY}&metadata=%7B%22a%22%3A%22%2541%22%7D"
    )

    assert found.metadata == {"a": "%41"}
