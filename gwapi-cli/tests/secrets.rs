//! Whatever is wrong in or beside a Secret: its values are never printed.

mod support;

use support::*;

/// In every value below; nothing that is printed may contain it.
const VALUE: &str = "hunter2";

/// A Secret whose only entry is the given line.
fn secret(entry: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: key\n{entry}\n")
}

/// Everything that `gwapi` prints about a file, as text and as JSON lines.
fn printed(text: &str) -> String {
    let manifests = Manifests::new(&[("file.yaml", text)]);
    let path = manifests.path().to_str().expect("text");
    let mut all = String::new();
    for arguments in [
        &["status", path][..],
        &["status", path, "-o", "json"],
        &["status", path, "-o", "yaml"],
        &["run", path, "--strict", "--admin", "off"],
        &["run", path, "--strict", "--admin", "off", "--output", "json"],
    ] {
        let output = gwapi(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        all.push_str(&stdout(&output));
        all.push_str(&stderr(&output));
    }
    all
}

/// Checks that a place is named and no line of the file is shown.
fn assert_hidden(text: &str) {
    assert!(text.contains(VALUE), "nothing to hide in {text}");
    let printed = printed(text);
    assert!(!printed.contains(VALUE), "{printed}");
    assert!(printed.contains("--> ") && printed.contains("file.yaml:"), "{printed}");
    assert!(printed.contains("source lines are not shown"), "{printed}");
}

#[test]
fn of_a_value_that_is_no_base64() {
    assert_hidden(&secret("data:\n  password: hunter2!"));
}

#[test]
fn of_a_list_in_the_place_of_a_string() {
    assert_hidden(&secret("stringData:\n  password: [hunter2]"));
    assert_hidden(&secret("stringData: [hunter2]"));
    assert_hidden(&secret("stringData: hunter2"));
}

#[test]
fn of_a_pem_block_with_bad_indentation() {
    assert_hidden(&secret(
        "type: kubernetes.io/tls\nstringData:\n  tls.key: |\n    -----BEGIN PRIVATE KEY-----\n  \
         hunter2\n    hunter2\n    -----END PRIVATE KEY-----",
    ));
    assert_hidden(&secret(
        "stringData:\n  tls.key: |\n    -----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
    ));
}

#[test]
fn of_a_quote_that_is_never_closed() {
    assert_hidden(&secret("stringData:\n  password: \"hunter2"));
    assert_hidden(&format!("{}---\n{}", secret("stringData:\n  a: 'hunter2"), service("web")));
}

#[test]
fn of_json_on_one_line_without_a_comma() {
    assert_hidden(
        r#"{"apiVersion": "v1", "kind": "Secret" "metadata": {"name": "a"}, "data": {"a": "hunter2"}}"#,
    );
}

#[test]
fn of_items_of_a_list() {
    assert_hidden(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: a}\n  \
         stringData:\n    a: [hunter2]\n",
    );
    assert_hidden(
        "apiVersion: v1\nkind: SecretList\nitems:\n- metadata: {name: a}\n  stringData:\n    a: [hunter2]\n",
    );
}

#[test]
fn of_aliases_anchors_and_tags() {
    assert_hidden(&secret("stringData:\n  password: *hunter2"));
    assert_hidden(&secret("stringData:\n  password: !hunter2 x"));
    assert_hidden(&secret("stringData: {a: &hunter2 [x]}"));
    assert_hidden(&secret("stringData: {a: &x [hunter2], b: *x}"));
}

#[test]
fn of_a_document_beside_a_broken_one() {
    let broken = "apiVersion: v1\nkind: Service\nmetadata:\n  name: [x\n";
    let secret = secret("stringData:\n  password: hunter2");
    for text in [format!("{secret}---\n{broken}"), format!("{broken}---\n{secret}")] {
        let printed = printed(&text);
        assert!(!printed.contains(VALUE), "{printed}");
    }
    // Nobody knows where the one ends and the other begins.
    assert_hidden(&format!("{broken}{secret}"));
    assert_hidden(&format!("{}---\ndata:\n  password: hunter2\n", secret.replace(VALUE, "x")));
    assert_hidden(&format!("{}---\n  password: hunter2\n", secret.replace(VALUE, "x")));
}

#[test]
fn of_what_kubectl_applied_last() {
    assert_hidden(&secret(
        "annotations:\n  kubectl.kubernetes.io/last-applied-configuration: '{\"kind\":\"Secret\",\
         \"stringData\":{\"a\":\"hunter2\"}}\nstringData: []",
    ));
}

#[test]
fn of_a_kind_or_key_that_is_misspelt() {
    assert_hidden(&secret("stringdata:\n  password: hunter2\n bad").replace("Secret", "Secrte"));
    assert_hidden(&secret("data:\n  password: hunter2\n bad").replace("Secret", "Sercet"));
    assert_hidden(&secret("dta:\n  password: hunter2\n bad"));
    assert_hidden("apiVersion: v1\nmetadata: {name: a}\ndata: {password: hunter2}\n");
}

#[test]
fn but_lines_of_a_reference_to_a_secret_are_shown() {
    let gateway = gateway(8443).replace("protocol: HTTP", "protocol: HTTPS").replace(
        "port: 8443",
        "port: 8443\n      tls: {certificateRefs: [{kind: Secret, name: 7}]}",
    );
    let text = printed(&format!("{gateway}---\n{}", secret("stringData: {a: hunter2}")));
    assert!(text.contains("certificateRefs: [{kind: Secret, name: 7}]"), "{text}");
    assert!(!text.contains(VALUE), "{text}");
}
