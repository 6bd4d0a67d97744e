# domzero in a container: no privileges, no devices. Guests run inside the process.
#
#   docker build -t domzero .
#   docker run -p 127.0.0.1:8006:8006 -v domzero-state:/state domzero
#   docker exec <container> cat /state/token
#
# Published under another port or name, say so: -e DOMZERO_HOSTS=example.org:9000 (comma-separated).

FROM node:26-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json ./
# The image's own Node runs the service: the one from the registry is for machines whose Node is too old.
RUN npm ci --ignore-scripts --omit=dev --omit=optional --no-audit --no-fund

FROM node:26-bookworm-slim
WORKDIR /app
COPY --from=packages /app/node_modules node_modules
COPY package.json LICENSE domzero ./
COPY migrations migrations
COPY src src
RUN mkdir /state && chown node:node /state
USER node
ENV NODE_ENV=production \
    DOMZERO_STATE_DIR=/state \
    DOMZERO_LISTEN=0.0.0.0:8006
VOLUME /state
EXPOSE 8006
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8006/healthz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "src/main.ts"]
