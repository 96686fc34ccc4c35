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

/// Idle observers are what there is most of: what each costs here, beyond its session.
#[test]
fn an_idle_observer_is_small() {
    let endpoint = size_of::<crate::endpoint::Endpoint>();
    assert!(endpoint <= 264, "{endpoint} bytes for an endpoint with its observation");
}
