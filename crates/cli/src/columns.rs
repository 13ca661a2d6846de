//! Text laid out for people: one line each, cut to the width of the terminal.

use std::io::IsTerminal;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A text on one line: line breaks and whatever a terminal would obey become spaces.
pub(crate) fn one_line(text: &str) -> String {
    let visible = |letter: char| if is_obeyed(letter) { ' ' } else { letter };
    text.chars().map(visible).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Controls, and marks that reorder the text around them.
fn is_obeyed(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The beginning of `text` that is at most `width` columns wide, with a mark where something was cut off.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fits = |letter: &char| {
        let letter_width = letter.width().unwrap_or(0);
        let fits = letter_width <= room;
        room = room.saturating_sub(letter_width);
        fits
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// `text` with spaces behind it up to `width` columns.
pub(crate) fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// Columns of the terminal that stdout is, or more than any line has when it is a file or a pipe.
pub(crate) fn terminal_width() -> usize {
    if !std::io::stdout().is_terminal() {
        return usize::MAX;
    }
    terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0))
}

/// Lines of a name and what it is, the second column aligned.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    let lines: Vec<_> =
        pairs.iter().map(|(name, value)| format!("{}  {value}", padded(name, width))).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_command_the_terminal() {
        assert_eq!(one_line("a\nb\t \u{1b}[31mred\u{202e} x\0"), "a b [31mred x");
    }

    #[test]
    fn cutting_counts_columns() {
        assert_eq!(cut("fear of spiders", 15), "fear of spiders");
        assert_eq!(cut("fear of spiders", 8), "fear of…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("ab", 0), "…");
    }

    #[test]
    fn pairs_stand_in_line() {
        let lines = pairs(&[("a", "1".to_owned()), ("long", "2".to_owned())]);
        assert_eq!(lines, "a     1\nlong  2");
    }
}
