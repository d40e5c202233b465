;; Returns a sample with a million label values, all empty: 8 MB of the guest's zeros, 24 MB on the node.
(module
  (memory (export "memory") 200)
  ;; One family "f", one number of it.
  (data (i32.const 512) "f")
  (data (i32.const 68) "\00\03\00\00\01\00\00\00" "\00\04\00\00\01\00\00\00")
  (data (i32.const 768) "\00\02\00\00\01\00\00\00" "\01")
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $heap
    (global.set $heap
      (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 15)) (i32.const -16))))
  ;; dynamic
  (data (i32.const 16) "\01")
  (func (export "describe") (result i32) (i32.const 16))
  (func (export "collect") (result i32)
    (i32.store (i32.const 1028) (i32.const 4096))
    (i32.store (i32.const 1032) (i32.const 1_000_000))
    (i32.const 64))
)
