//! Time against size as a small SVG, both on logarithmic scales.

use std::fmt::Write;

use super::{Results, Row};

/// Of the picture and of the space around the axes, in pixels.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 230.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// Told apart by people who see colours differently too (Okabe and Ito).
const COLOURS: [&str; 7] =
    ["#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// Milliseconds a query, one at a time on the first number of threads, against the number of vectors: a line for each form.
pub fn plot(results: &Results) -> String {
    let threads = results.rows.first().map_or(1, |row| row.threads);
    let rows: Vec<&Row> = results.rows.iter().filter(|row| row.threads == threads).collect();
    let across = Axis::of(rows.iter().map(|row| row.documents as f64), LEFT, WIDTH - RIGHT);
    let up = Axis::of(rows.iter().map(|row| row.milliseconds), HEIGHT - BOTTOM, TOP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let title =
        format!("milliseconds a query, {threads} thread{}", if threads == 1 { "" } else { "s" });
    text(&mut svg, LEFT, TOP - 18.0, "start", &title);
    text(&mut svg, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10.0, "middle", "vectors");
    for decade in across.decades() {
        let x = across.place(decade);
        line(&mut svg, [x, TOP, x, HEIGHT - BOTTOM]);
        text(&mut svg, x, HEIGHT - BOTTOM + 18.0, "middle", &number(decade));
    }
    for decade in up.decades() {
        let y = up.place(decade);
        line(&mut svg, [LEFT, y, WIDTH - RIGHT, y]);
        text(&mut svg, LEFT - 8.0, y + 4.0, "end", &number(decade));
    }
    for (i, name) in names(&rows).iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let of_form = rows.iter().filter(|row| name_of(row) == *name);
        let points: Vec<[f64; 2]> = of_form
            .map(|row| [across.place(row.documents as f64), up.place(row.milliseconds)])
            .collect();
        let path: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for [x, y] in points {
            let _ =
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
        }
        let y = TOP + 20.0 * i as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{}\" y=\"{y}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>",
            WIDTH - RIGHT + 16.0
        );
        text(&mut svg, WIDTH - RIGHT + 36.0, y + 6.0, "start", name);
    }
    svg + "</svg>\n"
}

/// A logarithmic scale of whole decades.
struct Axis {
    decades: [i32; 2],
    ends: [f64; 2],
}

impl Axis {
    fn of(numbers: impl Iterator<Item = f64>, start: f64, end: f64) -> Self {
        let logarithms: Vec<f64> = numbers.filter(|x| *x > 0.0).map(f64::log10).collect();
        let least = logarithms.iter().copied().fold(f64::INFINITY, f64::min).floor();
        let most = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max).ceil();
        let decades = if least.is_finite() {
            [least as i32, (most as i32).max(least as i32 + 1)]
        } else {
            [0, 1]
        };
        Self { decades, ends: [start, end] }
    }

    fn place(&self, number: f64) -> f64 {
        let [least, most] = self.decades.map(f64::from);
        let share = (number.max(1e-9).log10() - least) / (most - least);
        self.ends[0] + share * (self.ends[1] - self.ends[0])
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        (self.decades[0]..=self.decades[1]).map(|power| 10_f64.powi(power))
    }
}

fn name_of(row: &Row) -> String {
    format!("{}, {}", row.model, row.form)
}

/// In order of appearance.
fn names(rows: &[&Row]) -> Vec<String> {
    let mut names = Vec::new();
    for name in rows.iter().map(|row| name_of(row)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn number(number: f64) -> String {
    match number {
        _ if number >= 1e6 => format!("{} M", number / 1e6),
        _ if number >= 1e3 => format!("{} k", number / 1e3),
        _ => format!("{number}"),
    }
}

fn line(svg: &mut String, [x1, y1, x2, y2]: [f64; 4]) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#dddddd\"/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ =
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}
