"""Both encryptions of NIP-47 and signed events, between one key and another."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from nwc_service.nostr import nip04, nip44
from nwc_service.nostr.event import Event, sign_event
from nwc_service.nostr.keys import Keypair, PublicKey

NIP44_V2 = "nip44_v2"
NIP04 = "nip04"


@dataclass(frozen=True, slots=True)
class Conversation:
    keypair: Keypair
    other: PublicKey

    def encrypt(self, plaintext: str, encryption: str) -> str:
        """NIP-44 for every name but `nip04`: an unknown name still needs a content."""
        shared_x = self.keypair.shared_x(self.other)
        if encryption == NIP04:
            return nip04.encrypt(plaintext, shared_x=shared_x, iv=secrets.token_bytes(16))
        key = nip44.conversation_key(shared_x)
        return nip44.encrypt(plaintext, key=key, nonce=secrets.token_bytes(32))

    def decrypt(self, content: str) -> str:
        """By what the content is, whatever the tags say."""
        shared_x = self.keypair.shared_x(self.other)
        if encryption_of(content) == NIP04:
            return nip04.decrypt(content, shared_x=shared_x)
        return nip44.decrypt(content, key=nip44.conversation_key(shared_x))

    def sign(
        self,
        content: str,
        *,
        kind: int,
        tags: Sequence[Sequence[str]],
        created_at: int | None = None,
    ) -> Event:
        return sign_event(
            self.keypair,
            kind=kind,
            content=content,
            tags=tags,
            created_at=int(time.time()) if created_at is None else created_at,
            aux=secrets.token_bytes(32),
        )


def encryption_of(content: str) -> str:
    return NIP04 if "?iv=" in content else NIP44_V2
