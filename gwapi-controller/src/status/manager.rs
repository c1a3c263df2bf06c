//! The name under which status is written.

use crate::fingerprint::fingerprint;

/// Characters that the API server takes as the name of a field manager.
const LONGEST: usize = 128;

/// The field manager of a controller: its name, which may be longer than the API server takes. Then it is as
/// much of it as there is room for; no two names have the same one.
pub(crate) fn field_manager(controller_name: &str) -> String {
    if controller_name.len() <= LONGEST {
        return controller_name.to_owned();
    }
    let print = fingerprint(controller_name);
    let end = controller_name.floor_char_boundary(LONGEST - 1 - print.len());
    format!("{}-{print}", &controller_name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_is_cut_and_stays_one_of_a_kind() {
        let short = format!("example.com/{}", "a".repeat(LONGEST - 12));
        assert_eq!(field_manager(&short), short);
        let managers = ["b", "c"].map(|end| field_manager(&format!("{short}{end}")));
        assert_ne!(managers[0], managers[1]);
        for manager in managers {
            assert_eq!(manager.len(), LONGEST);
            assert!(manager.starts_with("example.com/aaa"), "{manager}");
        }
    }
}
