//! Horizontal bars as SVG: few shapes, readable on light and on dark pages.

use std::fmt::Write as _;

use super::report::Bar;

const WIDTH: f64 = 720.0;
const LABELS: f64 = 170.0;
const NUMBERS: f64 = 80.0;
const ROW: f64 = 26.0;
const TOP: f64 = 44.0;

/// A bar for each value; those of gwapi stand out.
pub(crate) fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let height = TOP + ROW * bars.len() as f64 + 10.0;
    let largest = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\" role=\"img\">\n\
         <title>{title}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"20\" font-weight=\"bold\" fill=\"#222222\">{title}</text>\n\
         <text x=\"12\" y=\"37\" font-size=\"11\" fill=\"#555555\">{unit}, less is better</text>\n",
        title = escaped(title),
        unit = escaped(unit),
    );
    for (at, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * at as f64;
        let length = (WIDTH - LABELS - NUMBERS) * bar.value / largest;
        let color = if bar.label.starts_with("gwapi") { "#1f6feb" } else { "#b4bcc8" };
        writeln!(
            text,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#222222\">{}</text>\
             <rect x=\"{LABELS:.0}\" y=\"{:.0}\" width=\"{length:.1}\" height=\"18\" \
             fill=\"{color}\"/><text x=\"{:.1}\" y=\"{:.0}\" fill=\"#222222\">{}</text>",
            LABELS - 8.0,
            y + 17.0,
            escaped(&bar.label),
            y + 3.0,
            LABELS + length + 6.0,
            y + 17.0,
            number(bar.value),
        )
        .expect("a string takes every write");
    }
    text + "</svg>\n"
}

/// Three digits that say something.
fn number(value: f64) -> String {
    match value {
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_takes_the_width_and_the_others_their_share() {
        let bar = |label: &str, value| Bar { label: label.to_owned(), value };
        let svg = bars("a & b", "us", &[bar("gwapi", 10.0), bar("envoy", 40.0)]);
        assert!(svg.contains("<title>a &amp; b</title>"), "{svg}");
        assert!(svg.contains("width=\"117.5\" height=\"18\" fill=\"#1f6feb\""), "{svg}");
        assert!(svg.contains("width=\"470.0\" height=\"18\" fill=\"#b4bcc8\""), "{svg}");
        assert_eq!(svg.matches("<rect").count(), svg.matches("/>").count());
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([1288.4, 38.44, 0.456].map(number), ["1288", "38.4", "0.46"]);
    }
}
