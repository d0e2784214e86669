//! GSO: the probe counts packets where the sender's network stack handles buffers of many.
