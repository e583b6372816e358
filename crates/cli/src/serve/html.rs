//! Text that becomes part of a page, and tables.

/// Makes `text` harmless inside elements and quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A list of names and values; the values are HTML already.
pub(super) fn facts(rows: &[(&str, String)]) -> String {
    let rows: String = rows.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{value}</dd>")).collect();
    format!("<dl>{rows}</dl>")
}

/// A table whose first column names its rows and whose others are numbers; all cells are HTML already.
pub(super) fn table(caption: &str, heads: &[&str], rows: &[Vec<String>]) -> String {
    let head: String = heads
        .iter()
        .enumerate()
        .map(|(index, head)| format!("<th scope=\"col\"{}>{head}</th>", number(index)))
        .collect();
    let body: String = rows.iter().map(|cells| row(cells)).collect();
    format!(
        "<div class=\"scroll\"><table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
}

fn row(cells: &[String]) -> String {
    let cells: String = cells
        .iter()
        .enumerate()
        .map(|(index, cell)| match index {
            0 => format!("<th scope=\"row\">{cell}</th>"),
            _ => format!("<td{}>{cell}</td>", number(index)),
        })
        .collect();
    format!("<tr>{cells}</tr>")
}

fn number(index: usize) -> &'static str {
    if index == 0 { "" } else { " class=\"n\"" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_cannot_become_markup() {
        assert_eq!(escape("<b>'\"&"), "&lt;b&gt;&#39;&quot;&amp;");
    }

    #[test]
    fn a_table_names_its_rows_and_columns() {
        let text = table("c", &["a", "b"], &[vec!["x".into(), "1".into()]]);
        assert!(text.contains("<th scope=\"col\">a</th><th scope=\"col\" class=\"n\">b</th>"), "{text}");
        assert!(text.contains("<th scope=\"row\">x</th><td class=\"n\">1</td>"), "{text}");
    }
}
