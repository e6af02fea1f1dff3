import { defineConfig } from "vite";

// Fixed file names: the daemon embeds the files and answers with an ETag of their content, so names need no hash
// and a rebuild of the same sources gives the same tree.
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
        entryFileNames: "assets/app.js",
        assetFileNames: "assets/app[extname]",
        inlineDynamicImports: true,
      },
    },
  },
  server: { proxy: { "/v1": process.env.TRIMTAB_URL ?? "http://127.0.0.1:9180" } },
});
