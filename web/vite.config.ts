import { defineConfig } from "vite";

// Names hold a hash of the content: the daemon lets browsers keep assets/ for ever. Nothing else goes into the files
// (no time, no path), so the same sources give the same tree.
export default defineConfig({
  base: "./",
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  build: {
    outDir: "dist",
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    sourcemap: false,
    reportCompressedSize: true,
    rollupOptions: {
      output: {
        entryFileNames: "assets/app-[hash].js",
        assetFileNames: "assets/app-[hash][extname]",
        inlineDynamicImports: true,
      },
    },
  },
  server: { proxy: { "/v1": process.env.TRIMTAB_URL ?? "http://127.0.0.1:9180" } },
});
