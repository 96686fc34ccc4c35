use gateway_store::{Figures, Room, Store};

use crate::telemetry::Page;

/// What the store has done and has; flash wears by the bytes written.
pub(crate) fn figures(page: &mut Page, store: &dyn Store) {
    let Figures {
        messages,
        bytes_written,
        bytes_cleaned,
        syncs,
        bytes_on_disk,
        segments,
        bytes_pending,
        damaged_ranges,
        damaged_bytes,
        failures,
        // The room says it, and the failures.
        is_failing: _,
    } = store.figures();
    let mut value = |name: &str, kind: &str, help: &str, value: u64| {
        page.family(name, kind, help);
        page.value(name, "", value);
    };
    value("tidegate_store_messages_total", "counter", "Messages stored", messages);
    value("tidegate_store_bytes_written_total", "counter", "Bytes handed to the disk", bytes_written);
    value(
        "tidegate_store_bytes_cleaned_total",
        "counter",
        "Bytes of them that were written anew to free segments",
        bytes_cleaned,
    );
    value("tidegate_store_syncs_total", "counter", "Times that the disk was waited for", syncs);
    value("tidegate_store_failures_total", "counter", "Writes and syncs that failed", failures);
    value("tidegate_store_segments", "gauge", "Files of the log", segments);
    value("tidegate_store_bytes", "gauge", "Bytes of the files of the log", bytes_on_disk);
    value("tidegate_store_bytes_pending", "gauge", "Bytes that are not yet durable", bytes_pending);
    value(
        "tidegate_store_damaged_ranges",
        "gauge",
        "Ranges set aside at the start because they were damaged",
        damaged_ranges,
    );
    value("tidegate_store_damaged_bytes", "gauge", "Bytes of those ranges", damaged_bytes);
    let name = "tidegate_store_bytes_per_message";
    page.family(name, "gauge", "Bytes written per message stored");
    page.value(name, "", bytes_written as f64 / messages.max(1) as f64);
    let name = "tidegate_store_room";
    page.family(name, "gauge", "1 for what the store takes: all, less than comes, nothing that must be kept");
    for (state, word) in [(Room::Open, "open"), (Room::Behind, "behind"), (Room::Full, "full")] {
        page.value(name, &format!("state=\"{word}\""), u8::from(store.room() == state));
    }
}
