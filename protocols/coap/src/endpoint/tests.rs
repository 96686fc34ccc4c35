//! The adapter by bytes and virtual time. `peer` is the gateway's stand-in; the cases are named
//! after the ETSI/IPSO plugtests (`td_coap_core_01`) or the clause they check.

mod block;
mod core;
mod durability;
mod link;
mod lossy;
mod observe;
mod peer;
mod robustness;
mod session;
