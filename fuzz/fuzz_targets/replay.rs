//! The replay of request bodies: any frames, caps and abandoned attempts.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use tower_mesh::fuzzing::Step;

#[derive(Arbitrary, Debug)]
enum Frame {
    Data(u8),
    Pending,
    Trailers,
    Fail,
}

#[derive(Arbitrary, Debug)]
struct Input {
    frames: Vec<Frame>,
    cap: u8,
    exact: bool,
    attempts: Vec<u8>,
}

libfuzzer_sys::fuzz_target!(|input: Input| {
    let mut next = 0_u8;
    let mut byte = || {
        next = next.wrapping_add(1);
        next
    };
    let steps: Vec<Step> = input
        .frames
        .iter()
        .take(64)
        .map(|frame| match frame {
            Frame::Data(length) => Step::Data((0..length % 32).map(|_| byte()).collect()),
            Frame::Pending => Step::Pending,
            Frame::Trailers => Step::Trailers,
            Frame::Fail => Step::Fail,
        })
        .collect();
    let attempts: Vec<u8> = input.attempts.iter().take(8).map(|polls| polls % 16).collect();
    tower_mesh::fuzzing::replay(&steps, input.cap.into(), input.exact, &attempts);
});
