//! System call filters as programs of the kernel's packet filter machine: `seccomp(2)`.
//!
//! seccompiler is not used here: it compares one system call number after the other, where a
//! search tree asks seven questions; it cannot tell x32 calls apart; and it knows no filter whose
//! foreign architectures are not all treated alike.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET,
    BPF_W, sock_filter,
};

#[cfg(not(target_endian = "little"))]
compile_error!("the offsets below are those of little-endian machines");

/// `AUDIT_ARCH_*` of this build: `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
pub(super) const NATIVE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
pub(super) const NATIVE: u32 = 0xC000_00B7;

/// Set in the numbers of x32 calls, which come with the architecture of x86-64.
#[cfg(target_arch = "x86_64")]
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// What becomes of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The kernel does it.
    Allow,
    /// It is not done and fails with this number; 0 means that it seems to succeed.
    Errno(i32),
    /// Whoever listens to the filter says what becomes of it.
    Notify,
    /// The process is killed.
    Kill,
}

/// What is asked of an argument. Only its low 32 bits are looked at: all that matter here are
/// `int` or smaller to the kernel, so that high bits (CVE-2019-7303) change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Argument `.0`, masked by `.1`, is `.2`.
    Is(u8, u32, u32),
    /// Argument `.0` has one of the bits `.1`.
    AnyOf(u8, u32),
}

/// A verdict that is given if all questions are answered with yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) all: Vec<Ask>,
    pub(super) then: Verdict,
}

/// What becomes of one system call: the first case that fits, else `otherwise`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) call: u32,
    pub(super) cases: Vec<Case>,
    pub(super) otherwise: Verdict,
}

/// The program: foreign architectures are killed, calls without a rule are allowed. Of two rules
/// for one call the first holds.
pub(super) fn assemble(mut rules: Vec<Rule>) -> Vec<sock_filter> {
    rules.sort_by_key(|rule| rule.call); // stable: the first stays first
    rules.dedup_by_key(|rule| rule.call);
    let mut program = Vec::with_capacity(4 * rules.len());
    program.extend([
        load(4), // seccomp_data.arch
        jump(BPF_JEQ, NATIVE, 1, 0),
        give(Verdict::Kill),
        load(0), // seccomp_data.nr
    ]);
    #[cfg(target_arch = "x86_64")]
    program.extend([jump(BPF_JGE, X32_BIT, 0, 1), give(Verdict::Kill)]);
    search(&mut program, &ranges(&rules));
    program
}

/// Calls with numbers from `first` up to the next range's, all treated alike.
struct Range<'r> {
    first: u32,
    cases: &'r [Case],
    otherwise: Verdict,
}

/// All call numbers in order: those of rules, and those between them, which are allowed. The fewer
/// ranges, the sooner the kernel has translated the program, which it does for every sandbox.
fn ranges(rules: &[Rule]) -> Vec<Range<'_>> {
    let allowed = |first| Range {
        first,
        cases: &[],
        otherwise: Verdict::Allow,
    };
    let mut ranges = Vec::with_capacity(2 * rules.len() + 1);
    let mut next = 0;
    for rule in rules {
        if rule.call > next {
            ranges.push(allowed(next));
        }
        ranges.push(Range {
            first: rule.call,
            cases: &rule.cases,
            otherwise: rule.otherwise,
        });
        next = rule.call + 1;
    }
    ranges.push(allowed(next));
    ranges.dedup_by(|range, last| {
        range.otherwise == last.otherwise && range.cases.is_empty() && last.cases.is_empty()
    });
    ranges
}

/// A binary search for the range of the call in the accumulator. Every path ends in a verdict.
fn search(program: &mut Vec<sock_filter>, ranges: &[Range<'_>]) {
    if let [range] = ranges {
        return decide(program, range);
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let first = above[0].first;
    let at = program.len();
    program.push(jump(BPF_JGE, first, 0, 0));
    search(program, below);
    let past = program.len() - at - 1;
    if let Ok(past) = u8::try_from(past) {
        program[at].jt = past;
    } else {
        // Conditional jumps reach 255 instructions, this one all of them.
        let past = u32::try_from(past).expect("programs have at most 4096 instructions");
        program[at].jf = 1;
        program.insert(at + 1, statement(BPF_JMP | BPF_JA, past));
    }
    search(program, above);
}

fn decide(program: &mut Vec<sock_filter>, range: &Range<'_>) {
    for case in range.cases {
        let length = |asks: &[Ask]| {
            asks.iter()
                .map(|ask| question(*ask, 0).count())
                .sum::<usize>()
        };
        for (n, ask) in case.all.iter().enumerate() {
            // If the answer is no: past the other questions and the verdict.
            let past = length(&case.all[n + 1..]) + 1;
            let past = u8::try_from(past).expect("a case has a few questions");
            program.extend(question(*ask, past));
        }
        program.push(give(case.then));
    }
    program.push(give(range.otherwise));
}

/// The instructions that go on with the next if the answer is yes, else skip `past` more.
fn question(ask: Ask, past: u8) -> impl Iterator<Item = sock_filter> {
    let (arg, mask, test) = match ask {
        Ask::Is(arg, u32::MAX, value) => (arg, None, jump(BPF_JEQ, value, 0, past)),
        Ask::Is(arg, mask, value) => (arg, Some(mask), jump(BPF_JEQ, value, 0, past)),
        Ask::AnyOf(arg, mask) => (arg, None, jump(BPF_JSET, mask, 0, past)),
    };
    let masked = mask.map(|mask| statement(BPF_ALU | BPF_AND | BPF_K, mask));
    [Some(load_argument(arg)), masked, Some(test)]
        .into_iter()
        .flatten()
}

fn give(verdict: Verdict) -> sock_filter {
    let value = match verdict {
        Verdict::Allow => libc::SECCOMP_RET_ALLOW,
        Verdict::Errno(errno) => {
            libc::SECCOMP_RET_ERRNO | errno.cast_unsigned() & libc::SECCOMP_RET_DATA
        }
        Verdict::Notify => libc::SECCOMP_RET_USER_NOTIF,
        Verdict::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    };
    statement(BPF_RET | BPF_K, value)
}

fn load(offset: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset)
}

/// The low half of an argument: `seccomp_data.args` begins at 16, with eight bytes each.
fn load_argument(number: u8) -> sock_filter {
    load(16 + 8 * u32::from(number))
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: u16::try_from(code).expect("opcodes have 16 bits"),
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        jt,
        jf,
        ..statement(BPF_JMP | test | BPF_K, k)
    }
}

#[cfg(test)]
pub(in crate::sandbox) mod machine {
    //! The machine, as far as filters use it: what the kernel would answer, without a kernel.

    use super::*;

    /// What `program` says to a call.
    pub(in crate::sandbox) fn run(
        program: &[sock_filter],
        arch: u32,
        call: u32,
        args: &[u64],
    ) -> Verdict {
        let mut data = Vec::new();
        data.extend_from_slice(&call.to_le_bytes());
        data.extend_from_slice(&arch.to_le_bytes());
        data.extend_from_slice(&0u64.to_le_bytes());
        for n in 0..6 {
            data.extend_from_slice(&args.get(n).copied().unwrap_or(0).to_le_bytes());
        }
        let (mut pc, mut a) = (0, 0u32);
        loop {
            let at = program[pc];
            let jump = |holds: bool| usize::from(if holds { at.jt } else { at.jf });
            pc += 1;
            match u32::from(at.code) {
                code if code == BPF_LD | BPF_W | BPF_ABS => {
                    let offset = at.k as usize;
                    let word = data[offset..offset + 4].try_into().expect("four bytes");
                    a = u32::from_le_bytes(word);
                }
                code if code == BPF_ALU | BPF_AND | BPF_K => a &= at.k,
                code if code == BPF_JMP | BPF_JA => pc += at.k as usize,
                code if code == BPF_JMP | BPF_JEQ | BPF_K => pc += jump(a == at.k),
                code if code == BPF_JMP | BPF_JGE | BPF_K => pc += jump(a >= at.k),
                code if code == BPF_JMP | BPF_JSET | BPF_K => pc += jump(a & at.k != 0),
                code if code == BPF_RET | BPF_K => return verdict(at.k),
                code => panic!("an instruction that no filter here uses: {code:#x}"),
            }
        }
    }

    fn verdict(value: u32) -> Verdict {
        let data = (value & libc::SECCOMP_RET_DATA).cast_signed();
        match value & libc::SECCOMP_RET_ACTION_FULL {
            libc::SECCOMP_RET_ALLOW => Verdict::Allow,
            libc::SECCOMP_RET_ERRNO => Verdict::Errno(data),
            libc::SECCOMP_RET_USER_NOTIF => Verdict::Notify,
            libc::SECCOMP_RET_KILL_PROCESS => Verdict::Kill,
            other => panic!("an action that no filter here gives: {other:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Allow, Errno, Kill};

    /// What the rules say, one after the other, is what the search finds.
    #[test]
    fn the_search_finds_each_rule() {
        let kill = |call| Rule {
            call,
            cases: Vec::new(),
            otherwise: Kill,
        };
        let asks = |call| Rule {
            call,
            cases: vec![Case {
                all: vec![Ask::AnyOf(0, 1)],
                then: Errno(call.cast_signed()),
            }],
            otherwise: Allow,
        };
        // Neighbours alike and unlike, gaps of one and many, the first number, and so many that
        // some jumps are long.
        let mut rules: Vec<Rule> = [0, 1, 2, 4, 5, 7].map(kill).into();
        rules.extend([3, 6, 9].map(asks));
        rules.extend((20..400).filter(|call| call % 3 != 0).map(asks));
        rules.extend([5, 900].map(kill));
        let program = assemble(rules.clone());
        for call in 0..1000 {
            for arg in [0, 1] {
                let rule = rules.iter().find(|rule| rule.call == call);
                let expected = rule.map_or(Allow, |rule| match &rule.cases[..] {
                    [case] if arg == 1 => case.then,
                    _ => rule.otherwise,
                });
                let found = machine::run(&program, NATIVE, call, &[arg]);
                assert_eq!(found, expected, "{call}({arg})");
            }
        }
    }
}
