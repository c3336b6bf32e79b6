"""`python -m tests.regtest.build` builds btcd and LND into .tools/regtest, with Go."""

from pathlib import Path

from tests.go_build import TOOLS, GoModule

BTCD = TOOLS / "regtest" / "btcd"
LND = TOOLS / "regtest" / "lnd"

NETWORK = GoModule(
    folder=Path(__file__).parent,
    programs={"github.com/btcsuite/btcd": BTCD, "github.com/lightningnetwork/lnd/cmd/lnd": LND},
    tags="signrpc,walletrpc,chainrpc,invoicesrpc,neutrinorpc,peersrpc,kvdb_sqlite",
    timeout_s=3600,
)
built = NETWORK.built

if __name__ == "__main__":
    raise SystemExit(NETWORK.main())
