//! Which columns tell a table's rows apart.

/// A column of an index, as the catalogue lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexPart {
    /// The index's name.
    pub(super) index: String,
    /// Its place in the index, from 1 on.
    pub(super) place: u32,
    /// The column's number in the table's list; `None` for an expression, or a column that we may not see.
    pub(super) column: Option<usize>,
    /// Whether the index holds only the value's beginning.
    pub(super) prefix: bool,
    /// Whether the column may hold NULL, or reads differently in the log and in a query.
    pub(super) unfit: bool,
}

/// The index that tells rows apart: the primary key where it is fit for it, else the unique index with the fewest
/// columns. `parts` are those of unique indexes, each index's parts in order.
pub(super) fn choose(parts: &[IndexPart]) -> Option<(String, Vec<usize>)> {
    let mut fit: Vec<(bool, usize, &str, Vec<usize>)> = Vec::new();
    for index in parts.chunk_by(|one, other| one.index == other.index) {
        let columns: Option<Vec<usize>> = index
            .iter()
            .zip(1..)
            .map(|(part, place)| {
                let fit = part.place == place && !part.prefix && !part.unfit;
                part.column.filter(|_| fit)
            })
            .collect();
        if let (Some(columns), Some(first)) = (columns, index.first()) {
            fit.push((first.index != "PRIMARY", columns.len(), &first.index, columns));
        }
    }
    let (_, _, name, columns) = fit.into_iter().min()?;
    Some((name.to_owned(), columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(index: &str, place: u32, column: usize) -> IndexPart {
        IndexPart { index: index.to_owned(), place, column: Some(column), prefix: false, unfit: false }
    }

    #[test]
    fn the_primary_key_comes_first_and_then_the_shortest_unique_index() {
        let parts =
            [part("PRIMARY", 1, 4), part("PRIMARY", 2, 1), part("a", 1, 0), part("b", 1, 2), part("b", 2, 3)];
        assert_eq!(choose(&parts), Some(("PRIMARY".to_owned(), vec![4, 1])));
        assert_eq!(choose(&parts[2..]), Some(("a".to_owned(), vec![0])));
        assert_eq!(choose(&parts[3..]), Some(("b".to_owned(), vec![2, 3])));
        assert_eq!(choose(&[]), None);
    }

    #[test]
    fn an_index_that_does_not_tell_rows_apart_is_passed_over() {
        let prefix = IndexPart { prefix: true, ..part("PRIMARY", 1, 0) };
        let unfit = IndexPart { unfit: true, ..part("b", 1, 0) };
        let hidden = IndexPart { column: None, ..part("c", 2, 0) };
        let holed = part("d", 2, 0);
        let parts = [prefix, unfit, part("c", 1, 1), hidden, holed, part("e", 1, 5)];
        assert_eq!(choose(&parts), Some(("e".to_owned(), vec![5])));
    }
}
