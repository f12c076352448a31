/** Public modules of @data-manager/transport-shm. */

export * as RingInspection from "./RingInspection.ts"
export * as RingLayout from "./RingLayout.ts"
export { defaultDirectory, type RingLocation } from "./RingLocation.ts"
export { RingReader, type RingReaderOptions, type RingReaderStats, type WaitMode } from "./RingReader.ts"
export { RingSource } from "./RingSegment.ts"
export { RingWriter, type RingWriterOptions } from "./RingWriter.ts"
export * as ShmPublication from "./ShmPublication.ts"
export * as ShmSubscription from "./ShmSubscription.ts"
