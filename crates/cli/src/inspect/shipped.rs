//! The models that come with hpd: which there are, what each is best at, where it lies.

use hpd_encoder::shipped::ShippedModel;
use hpd_files::Result;
use serde_json::json;
use unicode_width::UnicodeWidthStr;

use super::{in_megabytes, size_of_folder};
use crate::Answer;
use crate::columns::padded;
use crate::models::lookup;
use crate::terminal::Terminal;

/// Prints them, the default marked; the answer is no where there is none. Nothing is opened or written.
pub(super) fn list(terminal: &Terminal) -> Result<Answer> {
    let models = lookup().shipped.all()?;
    if terminal.json {
        for model in &models {
            terminal.print(&to_json(model)?)?;
        }
    } else if models.is_empty() {
        terminal.print("no model comes with this hpd")?;
    } else {
        terminal.print(&to_text(&models)?)?;
    }
    Ok(if models.is_empty() { Answer::No } else { Answer::Yes })
}

/// `None` for one that is part of the program, or whose folder is missing.
fn bytes(model: &ShippedModel) -> Result<Option<u64>> {
    model.path().filter(|path| path.is_dir()).map(size_of_folder).transpose()
}

fn to_json(model: &ShippedModel) -> Result<String> {
    let ShippedModel { name, role, is_default, .. } = model;
    let (path, bytes) = (model.path(), bytes(model)?);
    let line =
        json!({"name": name, "role": role, "default": is_default, "path": path, "bytes": bytes});
    Ok(line.to_string())
}

fn to_text(models: &[ShippedModel]) -> Result<String> {
    let mut rows = vec![["model", "best at", "size", "place"].map(str::to_owned)];
    for model in models {
        let size = bytes(model)?.map_or_else(|| "-".to_owned(), in_megabytes);
        let place =
            model.path().map_or("in the program".to_owned(), |path| path.display().to_string());
        let mark = if model.is_default { " (default)" } else { "" };
        rows.push([model.name.clone() + mark, model.role.clone(), size, place]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths = [0, 1, 2].map(width);
    let line = |row: &[String; 4]| {
        let aligned = row.iter().zip(widths).map(|(word, width)| padded(word, width));
        aligned.chain([row[3].clone()]).collect::<Vec<_>>().join("  ")
    };
    Ok(rows.iter().map(line).collect::<Vec<_>>().join("\n"))
}
