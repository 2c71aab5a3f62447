//! The `trainer` program; everything is in the library beside it.

use std::process::ExitCode;

/// candle takes and gives back tensors at every step; the system's allocator would return their
/// pages to the kernel each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    keep_products_serial();
    ExitCode::from(trainer::cli::main(std::env::args_os()))
}

/// candle parallelises each product by `RAYON_NUM_THREADS`, and without it reads `/proc/cpuinfo`
/// before every single one. Our parallelism is over the batch (`threads`), so products stay serial:
/// 30 % faster at a batch of 128 on two cores.
#[allow(unsafe_code, reason = "candle offers no other way to set this")]
fn keep_products_serial() {
    if std::env::var_os("RAYON_NUM_THREADS").is_none() {
        // SAFETY: the first statement of the program; no other thread exists that could read the
        // environment.
        unsafe { std::env::set_var("RAYON_NUM_THREADS", "1") };
    }
}
