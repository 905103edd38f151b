//! One suite per port, run against every adapter.

mod csp;
mod csp_faults;
mod csp_probe;
mod ledger;
//HSM
