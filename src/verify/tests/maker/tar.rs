//! TAR archives, well-formed and not.

/// Bytes of a block.
pub const BLOCK: usize = 512;

/// An archive on its way.
#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    /// Appends an entry with its padding.
    pub fn add(&mut self, header: &Header, content: &[u8]) {
        if let Some(name) = &header.long_name {
            match header.long_names {
                LongNames::Pax => {
                    let record = record("path", name);
                    let own = Header::file("PaxHeader", record.len()).flag(b'x');
                    self.block(&own, record.as_bytes());
                }
                LongNames::Gnu => {
                    let name = format!("{name}\0");
                    let own = Header::file("././@LongLink", name.len()).flag(b'L');
                    self.block(&own, name.as_bytes());
                }
            }
        }
        self.block(header, content);
    }

    fn block(&mut self, header: &Header, content: &[u8]) {
        self.0.extend(header.bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
    }

    /// The archive with its end.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}

/// A pax record, which counts its own length.
pub fn record(keyword: &str, value: &str) -> String {
    let rest = format!(" {keyword}={value}\n");
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}")
}

/// How names over 100 bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongNames {
    Pax,
    Gnu,
}

/// A header whose fields can be anything.
#[derive(Clone, Debug)]
pub struct Header {
    pub block: [u8; BLOCK],
    pub long_name: Option<String>,
    pub long_names: LongNames,
    /// How the sum ends, and what it differs from the right one.
    pub sum_end: [u8; 2],
    pub sum_error: u32,
}

impl Header {
    /// Of a file, in plain ustar.
    pub fn file(name: &str, size: usize) -> Self {
        let mut header = Self {
            block: [0; BLOCK],
            long_name: (name.len() > 100).then(|| name.to_owned()),
            long_names: LongNames::Pax,
            sum_end: *b"\0 ",
            sum_error: 0,
        };
        let name = &name.as_bytes()[..name.len().min(100)];
        header.put(0, name);
        header.put(100, b"0000644\0");
        header.put(108, b"0000000\0");
        header.put(116, b"0000000\0");
        header.put(124, format!("{size:011o}\0").as_bytes());
        header.put(136, b"14524751400\0");
        header.put(156, b"0");
        header.put(257, b"ustar\x0000");
        header
    }

    /// Overwrites bytes.
    pub fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.block[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    #[must_use]
    pub fn with(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.put(offset, bytes);
        self
    }

    #[must_use]
    pub fn flag(self, flag: u8) -> Self {
        self.with(156, &[flag])
    }

    #[must_use]
    pub fn gnu(mut self) -> Self {
        self.long_names = LongNames::Gnu;
        self.with(257, b"ustar  \0")
    }

    /// Numbers that end in a blank, as old writers have them.
    #[must_use]
    pub fn blanks(mut self, size: usize) -> Self {
        self.sum_end = *b" \0";
        self.with(100, b" 100644 ")
            .with(108, b"     0 \0")
            .with(116, b"     0 \0")
            .with(124, format!("{size:>11o} ").as_bytes())
            .with(329, b"000000 \0")
            .with(337, b"000000 \0")
    }

    /// With its checksum.
    pub fn bytes(&self) -> [u8; BLOCK] {
        let mut block = self.block;
        block[148..156].fill(b' ');
        let sum = block.iter().map(|byte| u32::from(*byte)).sum::<u32>() + self.sum_error;
        block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        block[154..156].copy_from_slice(&self.sum_end);
        block
    }
}
