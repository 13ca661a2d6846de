//! Curves and scatters as inline SVG, drawn at the width of a phone so that their letters stay readable there.

use crate::files::evenly_spaced;

use super::html::escape;

/// Size of a chart in its own units.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 220.0;
/// Room around the plot for the axes' letters.
const LEFT: f64 = 48.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 34.0;
/// A curve is drawn with at most so many points; more cannot be told apart.
const POINTS: usize = 300;
/// Marks on an axis, about.
const MARKS: f64 = 4.0;
/// Colours that the style knows.
const COLOURS: usize = 6;

/// One curve.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// What the legend calls it.
    pub(super) name: String,
    /// Ascending in their first number.
    pub(super) points: Vec<(f64, f64)>,
}

/// One point of a scatter.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    /// What the legend calls it.
    pub(super) name: String,
    pub(super) x: f64,
    pub(super) y: f64,
}

/// Curves over one axis, with a legend when there are several.
pub(super) fn lines(title: &str, across: &str, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|series| series.points.iter().copied());
    let x = Axis::over(points().map(|(x, _)| x), Scale::Linear);
    let y = Axis::over(points().map(|(_, y)| y), Scale::Linear);
    let (Some(x), Some(y)) = (x, y) else { return String::new() };
    let curve = |(i, series): (usize, &Series)| {
        let places = evenly_spaced(series.points.len(), POINTS);
        // A curve that was thinned out still ends where it ends.
        let last = series.points.last().copied().filter(|_| series.points.len() > POINTS);
        let shown = places.map(|i| series.points[i]).chain(last);
        let shown = shown.filter(|(x, y)| x.is_finite() && y.is_finite());
        let places: Vec<String> = shown
            .map(|(a, b)| format!("{:.1},{:.1}", across_at(x.share(a)), up_at(y.share(b))))
            .collect();
        format!("<polyline class=\"line c{}\" points=\"{}\"/>\n", i % COLOURS, places.join(" "))
    };
    let curves: String = series.iter().enumerate().map(curve).collect();
    let legend = if series.len() > 1 { legend(series) } else { String::new() };
    figure(title, &(axes(&x, &y, across) + &curves), &legend)
}

/// Numbered points; the axis below is logarithmic when the largest is more than four times the smallest.
pub(super) fn scatter(title: &str, across: &str, spots: &[Spot]) -> String {
    let xs = || spots.iter().map(|spot| spot.x);
    let (least, most) = (xs().fold(f64::MAX, f64::min), xs().fold(f64::MIN, f64::max));
    let scale = if least > 0.0 && most > 4.0 * least { Scale::Logarithmic } else { Scale::Linear };
    let (x, y) = (Axis::over(xs(), scale), Axis::over(spots.iter().map(|s| s.y), Scale::Linear));
    let (Some(x), Some(y)) = (x, y) else { return String::new() };
    let dot = |(i, spot): (usize, &Spot)| {
        let (a, b) = (across_at(x.share(spot.x)), up_at(y.share(spot.y)));
        // Numbers lean towards the middle, so that none is cut off.
        let (anchor, shift) = if a > WIDTH / 2.0 { ("end", -7.0) } else { ("start", 7.0) };
        format!(
            "<circle class=\"dot c{}\" cx=\"{a:.1}\" cy=\"{b:.1}\" r=\"4\"/>\n\
             <text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>\n",
            i % COLOURS,
            a + shift,
            b + 4.0,
            i + 1
        )
    };
    let dots: String = spots.iter().enumerate().map(dot).collect();
    let name = |spot: &Spot| {
        format!("<li>{} ({}, {})</li>\n", escape(&spot.name), shown(spot.x), shown(spot.y))
    };
    let names: String = spots.iter().map(name).collect();
    figure(title, &(axes(&x, &y, across) + &dots), &format!("<ol>\n{names}</ol>\n"))
}

fn figure(title: &str, drawing: &str, legend: &str) -> String {
    let title = escape(title);
    format!(
        "<figure>\n<figcaption>{title}</figcaption>\n\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n{drawing}</svg>\n{legend}</figure>\n"
    )
}

fn legend(series: &[Series]) -> String {
    let name = |(i, series): (usize, &Series)| {
        format!("<li class=\"c{}\">{}</li>\n", i % COLOURS, escape(&series.name))
    };
    let names: String = series.iter().enumerate().map(name).collect();
    format!("<ul class=\"legend\">\n{names}</ul>\n")
}

fn across_at(share: f64) -> f64 {
    LEFT + share * (WIDTH - LEFT - RIGHT)
}

fn up_at(share: f64) -> f64 {
    TOP + (1.0 - share) * (HEIGHT - TOP - BOTTOM)
}

/// Lines of the grid, their numbers, and the name of the axis below.
fn axes(x: &Axis, y: &Axis, across: &str) -> String {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut drawing = String::new();
    for mark in y.marks() {
        let at = up_at(y.share(mark));
        drawing += &format!(
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 5.0,
            at + 4.0,
            shown(mark)
        );
    }
    for mark in x.marks() {
        let at = across_at(x.share(mark));
        drawing += &format!(
            "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\"/>\n\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
            bottom + 14.0,
            shown(mark)
        );
    }
    drawing += &format!(
        "<text x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
        HEIGHT - 4.0,
        escape(across)
    );
    drawing
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Linear,
    Logarithmic,
}

/// From where to where an axis goes; logarithms on a logarithmic one.
#[derive(Clone, Copy, Debug)]
struct Axis {
    from: f64,
    to: f64,
    scale: Scale,
}

impl Axis {
    /// An axis with all finite `numbers` on it and a little room beside them; `None` when there are none.
    fn over(numbers: impl Iterator<Item = f64>, scale: Scale) -> Option<Self> {
        let numbers =
            numbers.filter(|number| number.is_finite()).map(|number| scaled(number, scale));
        let (from, to) =
            numbers.fold((f64::MAX, f64::MIN), |(from, to), n| (from.min(n), to.max(n)));
        if from > to {
            return None;
        }
        // A single number lies in the middle.
        let room = if to > from { 0.04 * (to - from) } else { 0.5 * from.abs().max(1.0) };
        Some(Self { from: from - room, to: to + room, scale })
    }

    fn share(&self, number: f64) -> f64 {
        (scaled(number, self.scale) - self.from) / (self.to - self.from)
    }

    /// Round numbers along the axis.
    fn marks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = round_step((self.to - self.from) / MARKS);
                let (first, last) = ((self.from / step).ceil(), (self.to / step).floor());
                // By counting, so that no sum of rounding errors puts a mark off its number.
                (0..=(last - first).max(0.0) as usize).map(|i| (first + i as f64) * step).collect()
            }
            Scale::Logarithmic => {
                let decades = self.from.floor() as i32..=self.to.ceil() as i32;
                let marks =
                    decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|n| n * 10f64.powi(decade)));
                marks.filter(|mark| (self.from..=self.to).contains(&mark.log10())).collect()
            }
        }
    }
}

fn scaled(number: f64, scale: Scale) -> f64 {
    match scale {
        Scale::Linear => number,
        Scale::Logarithmic => number.log10(),
    }
}

/// The next of …, 0.1, 0.2, 0.5, 1, 2, 5, 10, … that is not smaller.
fn round_step(least: f64) -> f64 {
    let decade = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
    steps.into_iter().find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(10.0 * decade)
}

/// A number with as many digits as it deserves.
fn shown(number: f64) -> String {
    let size = number.abs();
    let text = match size {
        _ if size < 1e-12 => "0".to_owned(),
        _ if size < 1e-3 => format!("{number:.0e}"),
        _ if size < 1.0 => format!("{number:.3}"),
        _ if size < 100.0 => format!("{number:.2}"),
        _ => format!("{number:.0}"),
    };
    if text.contains('.') && !text.contains('e') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_lie_on_the_axis() {
        let axis = |numbers: &[f64], scale| Axis::over(numbers.iter().copied(), scale).unwrap();
        let marks = axis(&[0.0, 10.0], Scale::Linear).marks();
        assert_eq!(marks, [0.0, 5.0, 10.0]);
        assert_eq!(axis(&[3.0, 45.0], Scale::Logarithmic).marks(), [5.0, 10.0, 20.0, 50.0]);
        assert_eq!(axis(&[7.0], Scale::Linear).share(7.0), 0.5);
    }

    #[test]
    fn nothing_finite_draws_nothing() {
        let series = Series { name: "x".into(), points: vec![(1.0, f64::NAN)] };
        assert!(lines("t", "step", &[series]).is_empty() && scatter("t", "MB", &[]).is_empty());
    }

    #[test]
    fn numbers_have_the_digits_they_deserve() {
        let shown: Vec<String> =
            [0.0, 3e-5, 0.125, 1.5, 20.0, 1234.6, -2.5].iter().map(|&n| shown(n)).collect();
        assert_eq!(shown, ["0", "3e-5", "0.125", "1.5", "20", "1235", "-2.5"]);
    }
}
