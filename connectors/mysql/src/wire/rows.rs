//! Rows of an answer in text form
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset_row.html>).

use super::fields::{Fields, Truncated};

/// The cells of one row, straight from the receive buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cells<'a> {
    body: &'a [u8],
    spans: &'a [Span],
}

/// Where a cell lies in its row's packet; `None` for NULL.
pub(super) type Span = Option<(usize, usize)>;

impl<'a> Cells<'a> {
    /// Reads a row; `spans` is a place to work in.
    pub(super) fn read(body: &'a [u8], columns: usize, spans: &'a mut Vec<Span>) -> Result<Self, Truncated> {
        spans.clear();
        let mut fields = Fields(body);
        for _ in 0..columns {
            if let Some((0xfb, rest)) = fields.0.split_first() {
                fields.0 = rest;
                spans.push(None);
                continue;
            }
            let length = fields.length()?;
            let start = body.len() - fields.0.len();
            fields.bytes(length)?;
            spans.push(Some((start, start + length)));
        }
        if fields.0.is_empty() { Ok(Self { body, spans }) } else { Err(Truncated) }
    }

    /// The text of the cell at `index`; `None` for NULL, and past the end.
    pub(crate) fn get(&self, index: usize) -> Option<&'a [u8]> {
        let (start, end) = (*self.spans.get(index)?)?;
        self.body.get(start..end)
    }

    /// How many cells the row has.
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_read_in_place_and_null_is_no_empty_text() {
        let mut spans = Vec::new();
        let cells = Cells::read(b"\x03abc\xfb\x00", 3, &mut spans).unwrap();
        assert_eq!(
            (cells.get(0), cells.get(1), cells.get(2), cells.get(3)),
            (Some(&b"abc"[..]), None, Some(&b""[..]), None)
        );
        assert_eq!(cells.len(), 3);
    }

    #[test]
    fn a_row_with_too_few_or_too_many_bytes_is_none() {
        for body in
            [&b"\x03ab"[..], b"\x01a", b"\x01a\x01b\x01c", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff", b""]
        {
            assert!(Cells::read(body, 2, &mut Vec::new()).is_err(), "{body:?}");
        }
    }
}
