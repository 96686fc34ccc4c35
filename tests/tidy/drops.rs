//! Why messages are dropped: one list of words for the code and for people.

use gateway_bus::DropReason;

use crate::harness::{Outcome, Stop, World};
use crate::tidy::source;

crate::cases!("tidy": every_word_for_a_drop_is_counted_by_itself, every_reason_of_a_drop_is_explained);

/// Adapters and bridges name reasons by words; one that the bus does not know would count as `other`.
fn every_word_for_a_drop_is_counted_by_itself(_: &mut World) -> Outcome {
    let mut findings = Vec::new();
    let of_an_adapter =
        |path: &str| ["protocols/", "bridges/", "examples/"].iter().any(|folder| path.starts_with(folder));
    for source in source::rust()?.iter().filter(|source| of_an_adapter(&source.path) && !source.is_test()) {
        let code = source.code();
        let words = ["Dropped(\"", "refuse_last(\""].into_iter().flat_map(|call| code.split(call).skip(1));
        let words = words.filter_map(|rest| rest.split('"').next());
        let unknown = words.filter(|word| DropReason::ALL.iter().all(|reason| reason.name() != *word));
        findings.extend(unknown.map(|word| format!("{}: {word}", source.path)));
    }
    source::none("reasons of drops that no counter knows", findings)
}

fn every_reason_of_a_drop_is_explained(_: &mut World) -> Outcome {
    let readme = source::all()?.into_iter().find(|source| source.path == "README.md");
    let readme = readme.ok_or_else(|| Stop::Failed("README.md is not there".into()))?;
    let row = |reason: &DropReason| format!("\n| `{}` |", reason.name());
    let missing = DropReason::ALL.iter().filter(|reason| !readme.text.contains(&row(reason)));
    source::none(
        "reasons that README.md does not explain",
        missing.map(|reason| reason.name().to_owned()).collect(),
    )
}
