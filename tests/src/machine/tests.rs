//! Programs of a few instructions.

use super::*;

/// Where the tests' map has its struct and its values, which begin 8 bytes before a line's end.
const MAP: Place = Place {
    map: 0x1000,
    values: 0x1038,
};

/// Runs instructions with these bytes as the map's values; r1 is what `context` says.
fn run_with(words: &[[u8; 8]], memory: &mut Memory, context: u64) -> Result<Executed> {
    let code = Code::new(words.as_flattened());
    memory.add(MAP.values, (0..=255).collect());
    let maps = BTreeMap::from([(7, MAP)]);
    // The helper returns its number and its first two arguments.
    let mut helper =
        |number: i32, [a, b, ..]: [u64; 5], _: &mut Memory| Ok(number as u64 * 100 + a * 10 + b);
    run(&code, context, &maps, memory, &mut helper)
}

fn result(words: &[[u8; 8]], context: u64) -> u64 {
    let words = [words, &[[0x95, 0, 0, 0, 0, 0, 0, 0]]].concat();
    let executed = run_with(&words, &mut Memory::default(), context);
    executed.expect("it ends").result
}

#[test]
fn halves_are_without_sign_and_comparisons_with_theirs() {
    // w0 = -1; r0 = -1, and that s>>= 4 in 32 bits and in 64; r0 = be16 of r1; w0 = (s8) w1.
    assert_eq!(
        result(&[[0xb4, 0, 0, 0, 255, 255, 255, 255]], 0),
        0xffff_ffff
    );
    let all = [0xb7, 0, 0, 0, 255, 255, 255, 255];
    assert_eq!(result(&[all], 0), u64::MAX);
    assert_eq!(result(&[all, [0xc4, 0, 0, 0, 4, 0, 0, 0]], 0), 0xffff_ffff);
    assert_eq!(result(&[all, [0xc7, 0, 0, 0, 4, 0, 0, 0]], 0), u64::MAX);
    let copy = [0xbf, 0x10, 0, 0, 0, 0, 0, 0];
    let swap = [0xdc, 0, 0, 0, 16, 0, 0, 0];
    assert_eq!(result(&[copy, swap], 0x55_1234), 0x3412);
    assert_eq!(result(&[[0xbc, 0x10, 8, 0, 0, 0, 0, 0]], 0x80), 0xffff_ff80);
    // r0 = 1; if r1 > -1, w1 s< 0 (and so on) skip r0 = 0.
    let taken = |code: u8, immediate: i32, r1: u64| {
        let [a, b, c, d] = immediate.to_le_bytes();
        let one = [0xb7, 0, 0, 0, 1, 0, 0, 0];
        let jump = [code, 1, 1, 0, a, b, c, d];
        let zero = [0xb7, 0, 0, 0, 0, 0, 0, 0];
        result(&[one, jump, zero], r1) == 1
    };
    assert!(!taken(0x25, -1, 5) && taken(0x65, -1, 5));
    assert!(taken(0xc6, 0, 0xffff_ffff) && !taken(0xc5, 0, 0xffff_ffff));
    assert!(taken(0x75, -1, u64::MAX) && !taken(0x65, -1, u64::MAX));
    assert!(taken(0x16, -1, 0x5_ffff_ffff) && !taken(0x15, -1, 0x5_ffff_ffff));
}

#[test]
fn a_lookup_touches_its_value_alone() {
    // r1 = map; r1 += 0x38; r0 = *(u32 *)(r2 + 0); r0 <<= 3; r0 += r1; r0 = *(u64 *)(r0 + 4).
    let lookup = [
        [0xbf, 0x12, 0, 0, 0, 0, 0, 0],
        [0x18, 0x11, 0, 0, 7, 0, 0, 0],
        [0; 8],
        [0x07, 0x01, 0, 0, 0x38, 0, 0, 0],
        [0x61, 0x20, 0, 0, 0, 0, 0, 0],
        [0x67, 0x00, 0, 0, 3, 0, 0, 0],
        [0x0f, 0x10, 0, 0, 0, 0, 0, 0],
        [0x79, 0x00, 4, 0, 0, 0, 0, 0],
        [0x95, 0, 0, 0, 0, 0, 0, 0],
    ];
    let code = Code::new(lookup.as_flattened());
    assert_eq!(code.values_offset().expect("one"), 0x38);
    let mut memory = Memory::default();
    memory.add(0x5000, vec![0; 4]);
    let executed = run_with(&lookup, &mut memory, 0x5000).expect("index 0");
    assert_eq!((executed.lookups, executed.instructions), (1, 8));
    assert_eq!(
        executed.result,
        u64::from_le_bytes([4, 5, 6, 7, 8, 9, 10, 11])
    );
    // Its eight bytes begin four before the end of a line.
    assert_eq!(memory.lines(MAP.values), BTreeSet::from([0x1000, 0x1040]));
    memory.forget();
    assert!(memory.lines(MAP.values).is_empty());
}

#[test]
fn functions_keep_registers_and_helpers_get_theirs() {
    // r6 = 3; *(u64 *)(r10 - 8) = r6; r2 = 2; call of the function behind; r0 += r6; r6 = the
    // stack's; r0 += r6; exit. The function: r6 = 9, *(u64 *)(r10 - 8) = r6, call of helper 5; exit.
    let words = [
        [0xb7, 6, 0, 0, 3, 0, 0, 0],
        [0x7b, 0x6a, 0xf8, 0xff, 0, 0, 0, 0],
        [0xb7, 2, 0, 0, 2, 0, 0, 0],
        [0x85, 0x10, 4, 0, 0, 0, 0, 0],
        [0x0f, 0x60, 0, 0, 0, 0, 0, 0],
        [0x79, 0xa6, 0xf8, 0xff, 0, 0, 0, 0],
        [0x0f, 0x60, 0, 0, 0, 0, 0, 0],
        [0x95, 0, 0, 0, 0, 0, 0, 0],
        [0xb7, 6, 0, 0, 9, 0, 0, 0],
        [0x7b, 0x6a, 0xf8, 0xff, 0, 0, 0, 0],
        [0x85, 0, 0, 0, 5, 0, 0, 0],
        [0x95, 0, 0, 0, 0, 0, 0, 0],
    ];
    let executed = run_with(&words, &mut Memory::default(), 1).expect("it ends");
    assert_eq!(executed.result, 512 + 3 + 3);
    assert_eq!((executed.functions, executed.helpers), (1, vec![5]));
}

#[test]
fn a_compare_and_exchange_stores_only_what_is_expected() {
    // r0 = r1; r2 = 5; r1 = values of map 7; lock cmpxchg *(u32 *)(r1 + 0), r0, r2; exit.
    let words = [
        [0xbf, 0x10, 0, 0, 0, 0, 0, 0],
        [0xb7, 2, 0, 0, 5, 0, 0, 0],
        [0x18, 0x21, 0, 0, 7, 0, 0, 0],
        [0; 8],
        [0xc3, 0x21, 0, 0, 0xf1, 0, 0, 0],
        [0x95, 0, 0, 0, 0, 0, 0, 0],
    ];
    for (expected, left) in [(0x0302_0100, [5, 0, 0, 0, 4]), (1, [0, 1, 2, 3, 4])] {
        let mut memory = Memory::default();
        let executed = run_with(&words, &mut memory, expected).expect("it ends");
        assert_eq!(executed.result, 0x0302_0100);
        assert_eq!(memory.all(MAP.values).expect("the map")[..5], left);
    }
}

#[test]
fn what_is_wrong_is_an_error() {
    let error = |words: &[[u8; 8]], context| {
        let error = run_with(words, &mut Memory::default(), context).expect_err("it is wrong");
        format!("{error:#}")
    };
    // goto -1; r0 = *(u64 *)(r1 + 0) behind the map's end; an unknown map; code 0xff.
    assert!(error(&[[0x05, 0, 0xff, 0xff, 0, 0, 0, 0]], 0).contains("no end"));
    let load = [0x79, 0x10, 0, 0, 0, 0, 0, 0];
    assert!(error(&[load], MAP.values + 249).contains("too many"));
    assert!(error(&[load], 8).contains("nothing lies"));
    assert!(error(&[[0x18, 0x11, 0, 0, 8, 0, 0, 0], [0; 8]], 0).contains("no map"));
    assert!(error(&[[0xff; 8]], 0).contains("no such register"));
    assert!(error(&[[0xf7, 0, 0, 0, 0, 0, 0, 0]], 0).contains("does not know code 0xf7"));
}
