;; Answers the node's question for aligned memory with an odd address.
(module
  (import "sonde:sensor/kstats@0.1.0" "read" (func $kstats (param i32 i32 i32)))
  (memory (export "memory") 2)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4097))
  ;; dynamic
  (data (i32.const 16) "\01")
  (func (export "describe") (result i32) (i32.const 16))
  (func (export "collect") (result i32)
    (call $kstats (i32.const 0) (i32.const 0) (i32.const 256))
    (i32.const 64))
)
