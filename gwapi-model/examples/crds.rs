//! Prints the CRDs of gwapi's own kinds as a JSON object, from the name of the file to its text:
//! `cargo xtask crds` writes them to `deploy/crds`.

use std::collections::BTreeMap;

use gwapi_model::schema::{Crd, crds};

const HEADER: &str = "# Generated from gwapi-model by `cargo xtask crds`; do not edit.\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = |crd: Crd| {
        let (plural, group) = crd.metadata.name.split_once('.').unwrap_or_default();
        let text = serde_saphyr::to_string(&crd)?;
        let lines = text.lines().map(|line| format!("{}\n", line.trim_end()));
        let text = HEADER.to_owned() + &lines.collect::<String>();
        Ok((format!("{group}_{plural}.yaml"), text))
    };
    let files: BTreeMap<String, String> =
        crds().into_iter().map(file).collect::<Result<_, Box<dyn std::error::Error>>>()?;
    println!("{}", serde_json::to_string(&files)?);
    Ok(())
}
