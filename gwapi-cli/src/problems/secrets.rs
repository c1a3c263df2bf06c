//! Which lines of a file may be shown: none of a document that holds a Secret, or may hold one.
//!
//! A file with a problem is often one that no parser can read, so this goes by words alone, and in
//! doubt a document counts as one that holds a Secret.

use std::ops::Range;

/// Kinds whose objects refer to Secrets and never hold values of them.
const WITHOUT_VALUES: [&str; 15] = [
    "BackendTLSPolicy",
    "XBackendTrafficPolicy",
    "ClusterTrustBundle",
    "GatewayClass",
    "Gateway",
    "HTTPRoute",
    "GRPCRoute",
    "TLSRoute",
    "TCPRoute",
    "UDPRoute",
    "ReferenceGrant",
    "Namespace",
    "Service",
    "EndpointSlice",
    "Endpoints",
];

/// What only stands where keys are, in lower case: of Secrets, of PEM and of PEM in base64.
const SIGNS: [&str; 5] = ["stringdata", "tls.key", "private key", "private_key", "ls0tls1crudjti"];

/// The bytes of the document at an offset, where its lines may be shown.
pub(super) fn showable(text: &str, offset: usize) -> Option<Range<usize>> {
    let range = document(text, offset);
    let own = &text[range.clone()];
    // What does not plainly say what it is may be the rest of the document before it.
    let is_rest = kind(own).is_none();
    let hidden = may_hold_secret(own) || is_rest && may_hold_secret(text);
    (!hidden).then_some(range)
}

fn may_hold_secret(document: &str) -> bool {
    let lower = document.to_ascii_lowercase();
    if SIGNS.iter().any(|sign| lower.contains(sign)) {
        return true;
    }
    match kind(document) {
        Some(kind) if WITHOUT_VALUES.contains(&kind) => has_data(&lower),
        Some("ConfigMap") => lower.contains("secret"),
        // Escapes can spell every word above.
        _ => {
            let words = ["secret", r"\u", r"\x"];
            has_data(&lower) || words.iter().any(|word| lower.contains(word))
        }
    }
}

/// The kind of a document that says it in one line of its own, and only once.
fn kind(document: &str) -> Option<&str> {
    let mut kinds = document.lines().filter_map(|line| line.strip_prefix("kind:"));
    let kind = kinds.next()?;
    let kind = kind.split(" #").next().unwrap_or(kind).trim();
    kinds.next().is_none().then_some(kind)
}

/// Whether there is a key `data`, in lower case.
fn has_data(lower: &str) -> bool {
    lower.match_indices("data").any(|(at, word)| {
        let before = lower[..at].chars().next_back();
        let is_whole = before.is_none_or(|c| !c.is_alphanumeric() && !"-_./".contains(c));
        let behind = lower[at + word.len()..].trim_start_matches(['\\', '"', '\'', ' ', '\t']);
        is_whole && behind.trim_start().starts_with(':')
    })
}

/// The bytes of the document at an offset.
fn document(text: &str, offset: usize) -> Range<usize> {
    let (mut from, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        if is_border(line) {
            if at > offset {
                return from..at;
            }
            from = at;
        }
        at += line.len();
    }
    from..text.len()
}

fn is_border(line: &str) -> bool {
    let rest = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<'t>(text: &'t str, word: &str) -> Option<&'t str> {
        let at = text.find(word).expect("there");
        showable(text, at).map(|range| &text[range])
    }

    #[test]
    fn lines_of_the_same_document_alone_are_shown() {
        let text = "kind: Gateway\na: 1\n---\nkind: Service\nb: 2\n--- # next\nkind: HTTPRoute\n";
        assert_eq!(shown(text, "a: 1"), Some("kind: Gateway\na: 1\n"));
        assert_eq!(shown(text, "b: 2"), Some("---\nkind: Service\nb: 2\n"));
        assert_eq!(shown(text, "HTTPR"), Some("--- # next\nkind: HTTPRoute\n"));
    }

    #[test]
    fn a_border_of_pem_is_none_of_documents() {
        assert!(!is_border("-----BEGIN PRIVATE KEY-----\n"));
        assert!(is_border("---\r\n") && is_border("---") && is_border("--- {}\n"));
    }

    #[test]
    fn secrets_are_hidden_however_they_are_spelt() {
        for text in [
            "kind: Secret\na: x",
            "kind: secret\na: x",
            "kind:\n  Secret\na: x",
            "kind: !!str &a Secret\na: x",
            "? kind\n: Secret\na: x",
            "{kind: Secret, a: x}",
            r#"{"kind": "\u0053ecret", "a": "x"}"#,
            "items:\n- kind: Secret\n  a: x",
            "kind: Service\na: x\nkind: Secret\n",
            "kind: Service\na: x\n  kind: Secret\n  data: {}",
            "kind: Service\na: x\n? data\n: {}",
            "kind: Service\na: x\n b: -----BEGIN EC PRIVATE KEY-----",
            "kind: ConfigMap\ndata:\n a: x\n b: 'kind: Secret'",
        ] {
            assert_eq!(showable(text, 0), None, "{text}");
        }
    }

    #[test]
    fn references_to_secrets_hide_nothing() {
        for text in [
            "kind: Gateway # ours\na: x\nspec: {certificateRefs: [{kind: Secret, name: data}]}",
            "kind: ReferenceGrant\na: x\nspec: {to: [{group: '', kind: Secret}]}",
            "kind: ConfigMap\na: x\ndata: {b: c}",
            "kind: Service\na: x\nmetadata: {name: y}",
            "{kind: Service, a: x, metadata: {name: y}}",
        ] {
            assert!(shown(text, "a: x").is_some(), "{text}");
        }
    }

    #[test]
    fn the_rest_of_a_document_is_shown_where_no_secret_is_in_the_file() {
        assert!(shown("kind: Service\n---\nb: 2\n", "b: 2").is_some());
        assert!(shown("kind: Secret\n---\nb: 2\n", "b: 2").is_none());
        assert!(shown("kind: Secret\n---\nkind: Service\nb: 2\n", "b: 2").is_some());
    }
}
