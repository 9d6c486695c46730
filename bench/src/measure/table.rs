//! A table of text, in the form that Markdown and people both read.

use std::fmt;

/// Rows of words under a row of headings. The first column is set to the left, the others to the
/// right.
#[derive(Clone, Debug)]
pub struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new<S: Into<String>>(headings: impl IntoIterator<Item = S>) -> Self {
        Table { headings: headings.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row; what it lacks is left empty, what is too much is left out.
    pub fn row<S: Into<String>>(&mut self, words: impl IntoIterator<Item = S>) {
        let mut row: Vec<String> = words.into_iter().map(Into::into).collect();
        row.resize(self.headings.len(), String::new());
        self.rows.push(row);
    }

    /// True if it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = || std::iter::once(&self.headings).chain(&self.rows);
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| lines().map(|line| line[column].chars().count()).max().unwrap_or(0).max(2))
            .collect();
        for (number, line) in lines().enumerate() {
            for (column, (word, width)) in line.iter().zip(&widths).enumerate() {
                if column == 0 { write!(f, "| {word:<width$}")? } else { write!(f, " | {word:>width$}")? }
            }
            writeln!(f, " |")?;
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    if column == 0 {
                        write!(f, "|{}", "-".repeat(width + 2))?;
                    } else {
                        write!(f, "|{}:", "-".repeat(width + 1))?;
                    }
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_word() {
        let mut table = Table::new(["cell", "µs"]);
        assert!(table.is_empty());
        table.row(["get-c50-p16", "0.78"]);
        table.row(["x"]);
        assert_eq!(
            table.to_string(),
            "| cell        |   µs |\n\
             |-------------|-----:|\n\
             | get-c50-p16 | 0.78 |\n\
             | x           |      |\n"
        );
    }
}
