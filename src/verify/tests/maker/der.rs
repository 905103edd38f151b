//! DER by hand.

/// An element.
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len().to_be_bytes();
    let digits: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    match digits.as_slice() {
        [] => bytes.push(0),
        [short] if *short < 0x80 => bytes.push(*short),
        long => {
            bytes.push(0x80 + u8::try_from(long.len()).unwrap());
            bytes.extend_from_slice(long);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

/// Content of an INTEGER, as short as possible.
pub fn integer(value: i128) -> Vec<u8> {
    let mut bytes = value.to_be_bytes().to_vec();
    while bytes.len() > 1 && (bytes[0] == 0 && bytes[1] < 0x80 || bytes[0] == 255 && bytes[1] > 127)
    {
        bytes.remove(0);
    }
    bytes
}

/// Content of an OBJECT IDENTIFIER.
pub fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u32> = dotted.split('.').map(|arc| arc.parse().unwrap()).collect();
    let mut content = Vec::new();
    for arc in std::iter::once(arcs[0] * 40 + arcs[1]).chain(arcs[2..].iter().copied()) {
        let digits = (0..5).rev().map(|at| (arc >> (7 * at)) & 0x7F);
        let mut digits: Vec<u32> = digits.skip_while(|digit| *digit == 0).collect();
        if digits.is_empty() {
            digits.push(0);
        }
        let last = digits.len() - 1;
        content.extend(digits.iter().enumerate().map(|(at, digit)| {
            let more = if at < last { 0x80 } else { 0 };
            u8::try_from(*digit).unwrap() + more
        }));
    }
    content
}
