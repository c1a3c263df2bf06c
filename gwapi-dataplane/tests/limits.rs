//! The page about limits says what the code does.

use gwapi_dataplane::Limits;

/// Where the table of the page begins, and where it ends.
const BEGIN: &str = "| limit | default | what it bounds | beyond it |\n|---|---|---|---|\n";
const END: &str = "\n\n";

#[test]
fn the_page_about_limits_holds_the_table() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/limits.md");
    let text = std::fs::read_to_string(page).expect("the page is there");
    let (before, rest) = text.split_once(BEGIN).expect("the page has the table");
    let (_, after) = rest.split_once(END).expect("text follows the table");
    let rows: Vec<String> = Limits::describe()
        .iter()
        .map(|it| format!("| `{}` | {} | {} | {} |", it.name, it.default, it.about, it.beyond))
        .collect();
    let expected = format!("{before}{BEGIN}{}{END}{after}", rows.join("\n"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(page, &expected).expect("the page can be written");
        return;
    }
    assert_eq!(text, expected, "UPDATE_GOLDEN=1 writes the table anew");
}
