-- An institution's own table, as its own developers made it: Spanish names, texts as status codes, local times
-- without a zone, and columns that are nobody's business but the institution's.
CREATE TABLE public.servicios (
    codigo text PRIMARY KEY,
    nombre text NOT NULL
);

CREATE TABLE public.estados (
    codigo      text PRIMARY KEY,
    descripcion text NOT NULL
);

CREATE TABLE public.solicitudes (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    numero             text NOT NULL UNIQUE,
    servicio           text NOT NULL REFERENCES public.servicios,
    solicitante        text NOT NULL,
    cedula             text NOT NULL,
    provincia          text NOT NULL,
    monto              numeric(12, 2) NOT NULL,
    estado             text NOT NULL REFERENCES public.estados,
    observaciones      text,
    fecha_apertura     timestamp NOT NULL,
    fecha_modificacion timestamp NOT NULL
);
