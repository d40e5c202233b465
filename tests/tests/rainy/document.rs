//! The table as `docs/rainy-day.md` shows it.

use crate::table::{DAYS, Day, Sensor};

const BEGIN: &str = "<!-- The table, from tests/tests/rainy/table.rs; a test compares them. -->\n";
const END: &str = "<!-- The end of the table. -->\n";

const HEAD: &str = "\
| day | what happens | scrape | state | reasons | lacks | perhaps also | the sensor |
|---|---|---|---|---|---|---|---|
";

fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.filter(|word| !word.is_empty()).map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

fn row(day: &Day) -> String {
    let reasons = listed(day.reasons.iter().map(|(reason, _)| *reason));
    let lacks = listed(day.reasons.iter().map(|(_, resource)| *resource));
    let besides = listed(day.besides.iter().map(|(reason, _)| *reason));
    let sensor = match day.sensor {
        Sensor::Answered => "`http_up 1`".to_owned(),
        Sensor::Status(status) => format!("`http_up 0`, `http_status_code {status}`"),
        Sensor::Says(words) => format!("`http_up 0`, log: \u{201c}{words}\u{201d}"),
        Sensor::Logs(words) => format!("no series; log: \u{201c}{words}\u{201d}"),
        Sensor::Removed => "none any more".to_owned(),
    };
    let Day { name, cause, status, state, .. } = day;
    format!("| {name} | {cause} | {status} | `{state}` | {reasons} | {lacks} | {besides} | {sensor} |\n")
}

#[test]
fn rainy_table_is_the_documentation() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rainy-day.md");
    let text = std::fs::read_to_string(file).expect("docs/rainy-day.md is there");
    let table: String = DAYS.iter().map(row).collect();
    let expected = format!("{BEGIN}\n{HEAD}{table}\n{END}");
    assert!(
        text.contains(&expected),
        "docs/rainy-day.md should have this, and nothing else between its marks:\n\n{expected}"
    );
}
