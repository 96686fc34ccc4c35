//! What users do, each with programs that are not ours.

mod access;
mod bench;
mod carriers;
mod client;
mod client_tls;
mod coap;
mod examples;
mod interop;
mod kafka;
mod lwm2m;
mod mqtt;
mod operations;
mod readme;
mod restart;
mod rules;
mod scram;
mod services;
mod sharing;
mod store_command;
mod webhook;
mod websocket;

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    // The slowest first, so that the threads end together.
    [kafka::cases, lwm2m::cases, webhook::cases, coap::cases, mqtt::cases, websocket::cases, interop::cases]
        .into_iter()
        .chain([
            bench::cases,
            carriers::cases,
            client::cases,
            client_tls::cases,
            operations::cases,
            restart::cases,
            access::cases,
            rules::cases,
            scram::cases,
            readme::cases,
            examples::cases,
            services::cases,
            sharing::cases,
            store_command::cases,
        ])
        .flat_map(|cases| cases())
        .collect()
}
