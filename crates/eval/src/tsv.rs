//! Tab-separated files with a header line, whose columns are found by name and whose errors name the line.
//!
//! Apart from `hpd_files::records`, because a quote in these files is a letter and a row is not one text.

use std::io::{BufRead, Lines};
use std::path::{Path, PathBuf};

use hpd_files::records::open_text;
use hpd_files::{Error, Result};

/// Lines of a file that may be packed.
struct TextLines(Lines<Box<dyn BufRead + Send>>);

impl std::fmt::Debug for TextLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TextLines")
    }
}

/// The rows of a file, in order.
#[derive(Debug)]
pub struct Rows {
    path: PathBuf,
    header: Vec<String>,
    lines: TextLines,
    line: usize,
}

impl Rows {
    /// Opens a file, gzip or not, and reads its header.
    ///
    /// # Errors
    /// When it cannot be read or is empty.
    pub fn open(path: &Path) -> Result<Self> {
        let lines = TextLines(open_text(path)?.lines());
        let mut rows = Self { path: path.to_owned(), header: Vec::new(), lines, line: 0 };
        rows.header = match rows.next_line()? {
            Some(line) => cut(line.trim_start_matches('\u{feff}')),
            None => return Err(Error::input(format!("`{}` is empty", path.display()))),
        };
        Ok(rows)
    }

    /// Where the column called `name` stands, if there is one.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column == name)
    }

    /// How many columns there are.
    pub fn columns(&self) -> usize {
        self.header.len()
    }

    /// Where the column called `name` stands.
    ///
    /// # Errors
    /// When there is none.
    pub fn column(&self, name: &str) -> Result<usize> {
        self.find(name).ok_or_else(|| {
            let path = self.path.display();
            let found = self.header.join("`, `");
            Error::input(format!("`{path}` has no column `{name}` but `{found}`"))
                .hint("the first line must name the columns, with tabs between them")
        })
    }

    /// The next row with as many fields as the header has; lines without a letter are passed over.
    ///
    /// # Errors
    /// When a row has another number of fields, or is no text.
    pub fn next_row(&mut self) -> Result<Option<Vec<String>>> {
        while let Some(line) = self.next_line()? {
            if line.trim().is_empty() {
                continue;
            }
            let fields = cut(&line);
            let (found, expected) = (fields.len(), self.header.len());
            if found != expected {
                return Err(self.error(&format!("expected {expected} columns, found {found}")));
            }
            return Ok(Some(fields));
        }
        Ok(None)
    }

    /// A field of the current row as a finite number.
    ///
    /// # Errors
    /// When it is none.
    pub fn number(&self, field: &str, what: &str) -> Result<f64> {
        match field.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(self.error(&format!("{what} `{field}` is not a number"))),
        }
    }

    /// An error about the current row.
    pub fn error(&self, what: &str) -> Error {
        Error::input(format!("`{}` line {}: {what}", self.path.display(), self.line))
    }

    fn next_line(&mut self) -> Result<Option<String>> {
        self.line += 1;
        match self.lines.0.next().transpose() {
            Ok(line) => Ok(line),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(self.error("not UTF-8 text, or damaged").caused_by(error))
            }
            Err(error) => Err(Error::io("read", &self.path, error)),
        }
    }
}

fn cut(line: &str) -> Vec<String> {
    line.split('\t').map(str::to_owned).collect()
}
