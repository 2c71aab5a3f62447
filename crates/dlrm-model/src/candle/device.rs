//! Devices, and copies between host slices and candle tensors. The only file that looks inside a
//! tensor's storage.

#[cfg(feature = "cuda")]
use candle_core::cuda_backend::WrapErr as _;
use candle_core::{CpuStorage, Device, Layout, Result, Storage, Tensor, bail};

use crate::options::{DeviceError, DeviceSpec};

/// Copies the values of a tensor, on any device, into a slice of the same length.
pub(crate) fn copy_out(tensor: &Tensor, out: &mut [f32]) -> Result<()> {
    let (storage, layout) = tensor.storage_and_layout();
    if let Storage::Cpu(storage) = &*storage
        && layout.is_contiguous()
    {
        out.copy_from_slice(slice(storage, layout)?);
        return Ok(());
    }
    // Straight into `out`: a vector in between would be a second copy, in pages that are new every
    // time.
    #[cfg(feature = "cuda")]
    if let Storage::Cuda(storage) = &*storage
        && let Some((start, end)) = layout.contiguous_offsets()
    {
        let values = storage.as_cuda_slice::<f32>()?.slice(start..end);
        let stream = storage.device.cuda_stream();
        assert_eq!(end - start, out.len(), "length of a copy from the device");
        stream.memcpy_dtoh(&values, out).w()?;
        return stream.synchronize().w();
    }
    drop(storage);
    out.copy_from_slice(&tensor.flatten_all()?.to_vec1()?);
    Ok(())
}

/// Copies the values of a tensor into a new vector.
pub(crate) fn to_vec(tensor: &Tensor) -> Result<Vec<f32>> {
    let mut values = vec![0.0; tensor.elem_count()];
    copy_out(tensor, &mut values)?;
    Ok(values)
}

/// Contiguous values inside a custom op.
pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => bail!("expected a contiguous tensor, got {layout:?}"),
    }
}

/// Contiguous values inside an in-place op.
pub(crate) fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("expected a contiguous tensor of f32, got {layout:?}"),
    }
}

impl DeviceSpec {
    /// candle's device of that name.
    pub(crate) fn open(self) -> std::result::Result<Device, DeviceError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(ordinal) if !cfg!(feature = "cuda") => {
                Err(DeviceError::CudaNotBuilt { ordinal })
            }
            Self::Cuda(ordinal) => {
                Device::new_cuda(ordinal).map_err(|source| DeviceError::Cuda { ordinal, source })
            }
        }
    }
}

#[cfg(all(test, not(feature = "cuda")))]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_cuda_says_how_to_get_it() {
        let message = DeviceSpec::Cuda(2).open().unwrap_err().to_string();
        assert!(message.contains("cuda:2") && message.contains("--features cuda"), "{message}");
    }
}
