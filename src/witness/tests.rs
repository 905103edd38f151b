//! Witnesses against the ledger, and node files that were cut.
