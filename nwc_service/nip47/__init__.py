"""NIP-47, pure: kinds, envelopes, the info event, connection URIs."""
