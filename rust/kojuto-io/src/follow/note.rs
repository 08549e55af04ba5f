//! What a run has to tell beside the lines.

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteKind {
    /// What a rotation does every day: no line is lost by it, and none counted twice.
    Ordinary,
    /// Lines were lost or passed over, or may well have been.
    Lost,
    /// Nothing proves that the right lines were read: some may be missing or counted twice.
    Unproven,
    /// Something else is not as it should be; it costs no line.
    Odd,
}

/// One line for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub kind: NoteKind,
    /// The line.
    pub text: String,
}

impl Note {
    pub(super) fn ordinary(text: String) -> Note {
        Note { kind: NoteKind::Ordinary, text }
    }

    pub(super) fn lost(text: String) -> Note {
        Note { kind: NoteKind::Lost, text }
    }

    pub(super) fn unproven(text: String) -> Note {
        Note { kind: NoteKind::Unproven, text }
    }

    pub(super) fn odd(text: String) -> Note {
        Note { kind: NoteKind::Odd, text }
    }
}
