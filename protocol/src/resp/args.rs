//! The arguments of one request, as ranges into the bytes that carried them.

/// Where one argument lies, relative to the first byte of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArgRange {
    /// First byte of the argument.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

/// A request's arguments (the command name is argument 0), borrowed from a read buffer.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    bytes: &'a [u8],
    ranges: &'a [ArgRange],
}

impl<'a> Args<'a> {
    /// `ranges` must lie within `bytes`: a range that does not reads as an empty argument.
    pub fn new(bytes: &'a [u8], ranges: &'a [ArgRange]) -> Self {
        Args { bytes, ranges }
    }

    /// How many arguments there are, the command name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// True for the request without arguments (`*0`), which Redis ignores.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Argument `index`, or `None` past the end.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let range = self.ranges.get(index)?;
        let start = range.start as usize;
        Some(self.bytes.get(start..start + range.len as usize).unwrap_or_default())
    }

    /// Argument `index`, empty past the end. For callers that have checked the arity.
    #[inline]
    pub fn at(&self, index: usize) -> &'a [u8] {
        self.get(index).unwrap_or_default()
    }

    /// All arguments in order, the command name first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let this = *self;
        (0..this.ranges.len()).map(move |index| this.at(index))
    }

    /// The bytes the ranges speak of.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The ranges themselves.
    pub fn ranges(&self) -> &'a [ArgRange] {
        self.ranges
    }
}

/// Owns what [`Args`] borrows: for tests and for requests that a program writes itself.
#[derive(Clone, Debug, Default)]
pub struct OwnedArgs {
    bytes: Vec<u8>,
    ranges: Vec<ArgRange>,
}

impl OwnedArgs {
    /// Joins `words` into one buffer.
    pub fn new<W: AsRef<[u8]>>(words: &[W]) -> Self {
        let mut owned = OwnedArgs::default();
        for word in words {
            let word = word.as_ref();
            owned.ranges.push(ArgRange { start: owned.bytes.len() as u32, len: word.len() as u32 });
            owned.bytes.extend_from_slice(word);
        }
        owned
    }

    /// The borrowed view.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.ranges)
    }
}
