//! The keys of sessions, from a file: so that sessions outlive the process, and several gateways go on with
//! each other's.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use gwapi_translate::ir::SessionKeys;

/// Keys of a file.
const MAX_KEYS: usize = 16;

/// Bytes of a file.
const MAX_FILE: u64 = 64 * 1024;

/// Reads the file: a key per line, of which the first one seals.
pub(crate) fn read(path: &Path) -> anyhow::Result<SessionKeys> {
    let shown = path.display();
    let length = std::fs::metadata(path).with_context(|| {
        format!("cannot read the keys of sessions; `openssl rand -hex 32 > {shown}` makes one")
    })?;
    ensure!(length.len() <= MAX_FILE, "{shown} is too long for a file of keys");
    let text = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    parse(&text).with_context(|| format!("{shown} holds no keys of sessions"))
}

/// Its errors tell where, and never what.
fn parse(text: &[u8]) -> anyhow::Result<SessionKeys> {
    let mut keys = Vec::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        match SessionKeys::key_of_digits(line) {
            Some(key) => keys.push(key),
            None => bail!("line {} is no key: expected 64 hexadecimal digits", number + 1),
        }
    }
    ensure!(!keys.is_empty(), "there is none: expected 64 hexadecimal digits on a line");
    ensure!(keys.len() <= MAX_KEYS, "there are more than {MAX_KEYS}: take out the oldest ones");
    Ok(SessionKeys { keys })
}

#[cfg(test)]
mod tests {
    use gwapi_model::SecretBytes;

    use super::*;

    #[test]
    fn a_key_stands_on_a_line_and_the_first_one_seals() {
        let (new, old) = ("0f".repeat(32), "A0".repeat(32));
        let keys = parse(format!("# new\n{new}\n\n  {old}\r\n").as_bytes()).expect("keys").keys;
        let expected = [vec![0x0f; 32], vec![0xa0; 32]].map(SecretBytes::new);
        assert_eq!(keys, expected);
    }

    #[test]
    fn what_is_no_key_is_told_by_its_line_and_not_shown() {
        let good = "0f".repeat(32);
        for (text, message) in [
            (String::new(), "there is none"),
            ("# nothing\n".to_owned(), "there is none"),
            (format!("{good}\nhunter2\n"), "line 2 is no key"),
            (format!("{good}0\n"), "line 1 is no key"),
            (format!("{}\n", "+1".repeat(32)), "line 1 is no key"),
            (format!("{good}\n").repeat(17), "there are more than 16"),
        ] {
            let error = parse(text.as_bytes()).expect_err("no keys").to_string();
            assert!(error.starts_with(message), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
