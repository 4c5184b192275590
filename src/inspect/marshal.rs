//! Python's marshal format, as far as compiled modules have it: CPython 2.7 to 3.14.
//!
//! Objects lie in one flat list, and hold others by their place in it: what refers back costs
//! nothing, however often it is referred to, and nothing here recurses deeper than [`DEPTH`].
//! The format is described by CPython's `Python/marshal.c` alone.

/// Objects inside one another; honest modules have a tenth of it.
const DEPTH: usize = 200;
/// Objects of one module.
const OBJECTS: usize = 4_000_000;
/// Comparisons of two modules: what refers back is compared wherever it is referred to.
const COMPARISONS: usize = 8_000_000;

/// The layout of code objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// 2.7.
    Two,
    /// 3.0 to 3.7: arguments by keyword alone.
    Three,
    /// 3.8 to 3.10: arguments by position alone.
    Positional,
    /// 3.11 and later: local variables in one list, a table of exceptions.
    Locals,
}

/// A part of a code object: a number, or an object.
const fn parts(layout: Layout) -> &'static [(&'static str, bool)] {
    const NUMBER: bool = true;
    const OBJECT: bool = false;
    match layout {
        Layout::Two => &[
            ("arguments", NUMBER),
            ("locals", NUMBER),
            ("stack size", NUMBER),
            ("flags", NUMBER),
            ("bytecode", OBJECT),
            ("constants", OBJECT),
            ("names", OBJECT),
            ("local variables", OBJECT),
            ("free variables", OBJECT),
            ("cell variables", OBJECT),
            ("file name", OBJECT),
            ("name", OBJECT),
            ("first line", NUMBER),
            ("line numbers", OBJECT),
        ],
        Layout::Three => &[
            ("arguments", NUMBER),
            ("keyword arguments", NUMBER),
            ("locals", NUMBER),
            ("stack size", NUMBER),
            ("flags", NUMBER),
            ("bytecode", OBJECT),
            ("constants", OBJECT),
            ("names", OBJECT),
            ("local variables", OBJECT),
            ("free variables", OBJECT),
            ("cell variables", OBJECT),
            ("file name", OBJECT),
            ("name", OBJECT),
            ("first line", NUMBER),
            ("line numbers", OBJECT),
        ],
        Layout::Positional => &[
            ("arguments", NUMBER),
            ("positional arguments", NUMBER),
            ("keyword arguments", NUMBER),
            ("locals", NUMBER),
            ("stack size", NUMBER),
            ("flags", NUMBER),
            ("bytecode", OBJECT),
            ("constants", OBJECT),
            ("names", OBJECT),
            ("local variables", OBJECT),
            ("free variables", OBJECT),
            ("cell variables", OBJECT),
            ("file name", OBJECT),
            ("name", OBJECT),
            ("first line", NUMBER),
            ("line numbers", OBJECT),
        ],
        Layout::Locals => &[
            ("arguments", NUMBER),
            ("positional arguments", NUMBER),
            ("keyword arguments", NUMBER),
            ("stack size", NUMBER),
            ("flags", NUMBER),
            ("bytecode", OBJECT),
            ("constants", OBJECT),
            ("names", OBJECT),
            ("local variables", OBJECT),
            ("kinds of variables", OBJECT),
            ("file name", OBJECT),
            ("name", OBJECT),
            ("qualified name", OBJECT),
            ("first line", NUMBER),
            ("line numbers", OBJECT),
            ("exception table", OBJECT),
        ],
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Object<'a> {
    /// None, True, False and their like: the type says all.
    Constant(u8),
    /// A number, a text, bytes: by type and value. Texts are the same however they are stored.
    Value(u8, &'a [u8]),
    /// Tuples, lists and dicts.
    Sequence(u8, Vec<usize>),
    /// Sets, whose order means nothing.
    Set(u8, Vec<usize>),
    /// A code object, whose parts the layout names.
    Code(Vec<Part>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Number(u32),
    Object(usize),
}

/// A module that was read.
#[derive(Debug)]
pub(super) struct Module<'a> {
    layout: Layout,
    objects: Vec<Object<'a>>,
    root: usize,
}

impl<'a> Module<'a> {
    /// Reads the one object that a compiled module is.
    pub(super) fn read(bytes: &'a [u8], layout: Layout) -> Result<Self, &'static str> {
        let mut reader = Reader {
            rest: bytes,
            layout,
            objects: Vec::new(),
            references: Vec::new(),
            interned: Vec::new(),
        };
        let root = reader.object(0)?;
        if !reader.rest.is_empty() {
            return Err("something follows its code");
        }
        Ok(Self {
            layout,
            objects: reader.objects,
            root,
        })
    }

    /// In what the code of two modules differs: the first few places. None if it is the same code
    /// but for how it is written down.
    pub(super) fn differences(&self, other: &Self, limit: usize) -> Result<Vec<String>, &str> {
        let mut compared = Comparison {
            a: self,
            b: other,
            left: COMPARISONS,
            limit,
            told: Vec::new(),
        };
        let same = compared.same(self.root, other.root, "", 0)?;
        if !same && compared.told.is_empty() {
            compared.told.push("the module is no code".to_owned());
        }
        Ok(compared.told)
    }

    fn name(&self, parts: &[Part]) -> String {
        let table = self::parts(self.layout).iter().zip(parts);
        let mut name = table.filter(|((name, _), _)| matches!(*name, "name" | "qualified name"));
        match name.next_back() {
            Some((_, Part::Object(at))) => match &self.objects[*at] {
                Object::Value(_, text) => String::from_utf8_lossy(text).into_owned(),
                _ => String::new(),
            },
            _ => String::new(),
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    layout: Layout,
    objects: Vec<Object<'a>>,
    /// What `r` refers to; nothing while it is being read.
    references: Vec<Option<usize>>,
    /// What 2.7's `R` refers to.
    interned: Vec<usize>,
}

const CUT: &str = "its code is cut short";

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(CUT)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u32, &'static str> {
        let bytes = self.take(4)?.try_into().map_err(|_| CUT)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn length(&mut self) -> Result<usize, &'static str> {
        let length = self.number()? as usize;
        // Each element takes a byte at least.
        if length > self.rest.len() {
            return Err(CUT);
        }
        Ok(length)
    }

    fn object(&mut self, depth: usize) -> Result<usize, &'static str> {
        if depth == DEPTH {
            return Err("its objects are too deep inside one another");
        }
        if self.objects.len() == OBJECTS {
            return Err("it has more objects than any module");
        }
        let byte = self.byte()?;
        let (referred, kind) = (byte & 0x80 != 0, byte & 0x7f);
        let slot = referred.then(|| {
            self.references.push(None);
            self.references.len() - 1
        });
        let object = match kind {
            b'r' => {
                let at = self.number()? as usize;
                let known = self.references.get(at).copied().flatten();
                return known.ok_or("it refers to what is not there");
            }
            b'R' => {
                let at = self.number()? as usize;
                let known = self.interned.get(at).copied();
                return known.ok_or("it refers to what is not there");
            }
            b'0' | b'N' | b'F' | b'T' | b'S' | b'.' => Object::Constant(kind),
            b'i' => Object::Value(b'i', self.take(4)?),
            b'I' | b'g' => Object::Value(kind, self.take(8)?),
            b'y' => Object::Value(b'y', self.take(16)?),
            b'f' => {
                let length = usize::from(self.byte()?);
                Object::Value(b'f', self.take(length)?)
            }
            b'x' => return Err("it has numbers in a form of Python 1"),
            b'l' => {
                let before = self.rest;
                let digits = self.number()?.cast_signed().unsigned_abs() as usize;
                self.take(digits.checked_mul(2).ok_or(CUT)?)?;
                // With the count, which has the sign.
                Object::Value(b'l', &before[..4 + digits * 2])
            }
            b't' if self.layout == Layout::Two => {
                let length = self.length()?;
                self.interned.push(self.objects.len());
                Object::Value(b's', self.take(length)?)
            }
            b's' => {
                let length = self.length()?;
                Object::Value(b's', self.take(length)?)
            }
            // Texts: what they are made of and whether they are shared does not change them.
            b't' | b'u' | b'a' | b'A' => {
                let length = self.length()?;
                Object::Value(b'u', self.take(length)?)
            }
            b'z' | b'Z' => {
                let length = usize::from(self.byte()?);
                Object::Value(b'u', self.take(length)?)
            }
            b'(' | b'[' | b'<' | b'>' => {
                let length = self.length()?;
                let held = self.several(length, depth)?;
                if matches!(kind, b'<' | b'>') {
                    Object::Set(kind, held)
                } else {
                    Object::Sequence(kind, held)
                }
            }
            b')' => {
                let length = usize::from(self.byte()?);
                Object::Sequence(b'(', self.several(length, depth)?)
            }
            b':' => Object::Sequence(kind, self.several(3, depth)?),
            b'{' => {
                let mut held = Vec::new();
                while self.rest.first().ok_or(CUT)? & 0x7f != b'0' {
                    held.extend(self.several(2, depth)?);
                }
                self.byte()?;
                Object::Sequence(kind, held)
            }
            b'c' => {
                let mut held = Vec::new();
                for (_, is_number) in parts(self.layout) {
                    held.push(if *is_number {
                        Part::Number(self.number()?)
                    } else {
                        Part::Object(self.object(depth + 1)?)
                    });
                }
                Object::Code(held)
            }
            _ => return Err("it has objects of an unknown type"),
        };
        self.objects.push(object);
        let at = self.objects.len() - 1;
        if let Some(slot) = slot {
            self.references[slot] = Some(at);
        }
        Ok(at)
    }

    fn several(&mut self, count: usize, depth: usize) -> Result<Vec<usize>, &'static str> {
        (0..count).map(|_| self.object(depth + 1)).collect()
    }
}

struct Comparison<'m, 'a> {
    a: &'m Module<'a>,
    b: &'m Module<'a>,
    left: usize,
    limit: usize,
    told: Vec<String>,
}

impl Comparison<'_, '_> {
    /// Whether two objects are the same; tells of code that is not.
    fn same(
        &mut self,
        a: usize,
        b: usize,
        within: &str,
        depth: usize,
    ) -> Result<bool, &'static str> {
        if depth == 2 * DEPTH || self.left == 0 {
            return Err("its code is too intricate to be compared");
        }
        self.left -= 1;
        let (a, b) = (&self.a.objects[a], &self.b.objects[b]);
        match (a, b) {
            (Object::Sequence(kind, a), Object::Sequence(other, b)) => {
                if (kind, a.len()) != (other, b.len()) {
                    return Ok(false);
                }
                let mut same = true;
                for (a, b) in a.iter().zip(b) {
                    same &= self.same(*a, *b, within, depth + 1)?;
                }
                Ok(same)
            }
            (Object::Set(kind, a), Object::Set(other, b)) => {
                if (kind, a.len()) != (other, b.len()) {
                    return Ok(false);
                }
                let mut left: Vec<usize> = b.clone();
                for a in a {
                    let mut found = None;
                    for (n, b) in left.iter().enumerate() {
                        if self.same(*a, *b, within, depth + 1)? {
                            found = Some(n);
                            break;
                        }
                    }
                    match found {
                        Some(n) => left.swap_remove(n),
                        None => return Ok(false),
                    };
                }
                Ok(true)
            }
            (Object::Code(a), Object::Code(b)) => self.code(a, b, within, depth),
            (a, b) => Ok(a == b),
        }
    }

    fn code(
        &mut self,
        a: &[Part],
        b: &[Part],
        within: &str,
        depth: usize,
    ) -> Result<bool, &'static str> {
        let own = self.a.name(a);
        let name = if matches!(within, "" | "<module>") || own.contains('.') {
            own
        } else {
            format!("{within}.{own}")
        };
        let told = self.told.len();
        let mut other = Vec::new();
        for ((part, _), (a, b)) in parts(self.a.layout).iter().zip(a.iter().zip(b)) {
            let same = match (a, b) {
                (Part::Number(a), Part::Number(b)) => a == b,
                (Part::Object(a), Part::Object(b)) => self.same(*a, *b, &name, depth + 1)?,
                _ => false,
            };
            // That a code object among the constants is another has been told of that one.
            let is_told = *part == "constants" && self.told.len() > told;
            if !same && !is_told {
                other.push(*part);
            }
        }
        let same = other.is_empty() && self.told.len() == told;
        if !other.is_empty() && self.told.len() < self.limit {
            self.told
                .push(format!("{name}: other {}", other.join(", ")));
        }
        Ok(same && other.is_empty())
    }
}
