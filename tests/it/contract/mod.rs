//! One suite per port, run against every adapter.

mod csp;
mod csp_anchor;
mod csp_faults;
mod csp_probe;
mod ledger;
mod ledger_check;
mod ledger_devices;
mod ledger_holds;
mod ledger_joint;
mod ledger_known;
mod ledger_lists;
mod ledger_locks;
mod ledger_pairs;
mod ledger_requests;
mod ledger_rows;
mod ledger_safety;
//HSM
